import { expect } from "chai";
import { RemovalNews, removalError } from "../../lib/cluster/removal-news.js";
import { PeerRefusal } from "../../lib/peer/peer.js";

const REMOVED = new PeerRefusal("removed", "it was removed", "them");

describe("the news that this member was removed", () => {
  it("is certain once more members say so than have links with this one, and stays so", () => {
    const news = new RemovalNews();
    expect(news.refused("a", REMOVED, 1)).to.equal(false);
    expect(news.refused("a", REMOVED, 1)).to.equal(false);
    expect(news.isCertain).to.equal(false);
    expect(news.refused("b", REMOVED, 1)).to.equal(true);
    expect(news.refused("c", REMOVED, 1)).to.equal(false);
    news.linked("a");
    expect(news.isCertain).to.equal(true);
    expect(removalError("0123456789abcdef").message).to.contain("(0123456789abcdef) was removed from its cluster");
  });

  it("is certain when a seed says so and there is no link at all", () => {
    const news = new RemovalNews();
    expect(news.refused(null, REMOVED, 1)).to.equal(false);
    expect(news.refused(null, REMOVED, 0)).to.equal(true);
    expect(news.isCertain).to.equal(true);
  });

  it("is nothing that this node says itself, nor any other refusal, nor what one has said that is linked by now", () => {
    const news = new RemovalNews();
    expect(news.refused("a", new PeerRefusal("removed", "it was removed", "us"), 0)).to.equal(false);
    expect(news.refused("b", new PeerRefusal("settings", "another cluster", "them"), 0)).to.equal(false);
    expect(news.refused("c", REMOVED, 1)).to.equal(false);
    news.linked("c");
    expect(news.refused("d", REMOVED, 1)).to.equal(false);
  });
});
