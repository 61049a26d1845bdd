import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { expect } from "chai";
import { NetworkNamespaces } from "./network-namespaces.js";
import { skip } from "./program.js";
import { until, within } from "./until.js";

const ANNOUNCED = 7_300;
const PEER = 7_301;
/** Far above what a loaded machine adds. */
const DELAY_MS = 150;
/** Longer than the system takes to find out about a neighbour that does not answer. */
const CUT_MS = 4_000;

/** Answers every chunk with itself, where it is run. */
const ECHO = `require("node:net")
  .createServer((socket) => socket.pipe(socket))
  .listen(${PEER}, "127.0.0.1", () => console.log("ready"));`;
/** Passes bytes on between whoever dials it and the other namespace's proxy. */
const DIALLER = (address: string): string => `const { connect, createServer } = require("node:net");
createServer((near) => {
  const far = connect(${ANNOUNCED}, "${address}");
  near.pipe(far).pipe(near);
  for (const socket of [near, far]) socket.on("error", () => { near.destroy(); far.destroy(); });
}).listen(${PEER}, "127.0.0.1", () => console.log("ready"));`;
/** Makes namespaces and is killed. */
const KILLED = `import(process.argv[1]).then(({ NetworkNamespaces }) => {
  console.log(NetworkNamespaces.open().names.join(" "));
  process.kill(process.pid, "SIGKILL");
});`;

describe("network namespaces of two data centres", function () {
  this.timeout(60_000);
  const opened: NetworkNamespaces[] = [];

  before(function () {
    const obstacle = NetworkNamespaces.obstacle();
    if (obstacle !== null) skip(this, obstacle);
  });

  afterEach("remove the namespaces", async () => {
    for (const namespaces of opened.splice(0)) await namespaces.close();
  });

  async function run(namespaces: NetworkNamespaces, side: 0 | 1, program: string): Promise<void> {
    const [command, ...before] = namespaces.place(side).command;
    const child = spawn(command, [...before, "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
    await within({ what: "the program is ready", withinMs: 10_000 }, once(child.stdout, "data"));
  }

  /** Milliseconds until the bytes came back; null: not in time. */
  async function echoMs(socket: Socket, bytes: string, withinMs: number): Promise<number | null> {
    const beganMs = performance.now();
    let seen = "";
    const keep = (chunk: Buffer): void => {
      seen += chunk.toString();
    };
    socket.on("data", keep);
    socket.write(bytes);
    const found = await until({ what: "an echo", withinMs }, () => (seen === bytes ? true : null)).catch(() => null);
    socket.off("data", keep);
    return found === null ? null : performance.now() - beganMs;
  }

  it("delay what crosses, lose it silently while the cable is pulled, and pass it on again afterwards", async () => {
    const namespaces = NetworkNamespaces.open();
    opened.push(namespaces);
    await namespaces.pass(1, { announced: ANNOUNCED, peer: PEER, delayMs: DELAY_MS });
    await run(namespaces, 1, ECHO);
    await run(namespaces, 0, DIALLER(namespaces.address(1)));
    const { dial } = namespaces.place(0);
    const socket = await dial(PEER);
    const closings: string[] = [];
    socket.on("close", () => closings.push("closed"));

    expect(await echoMs(socket, "near and far", 5_000)).to.be.within(2 * DELAY_MS - 1, 5_000);
    const crossed = namespaces.bytesCrossed;
    expect(await echoMs(socket, "x".repeat(10_000), 5_000)).to.be.within(2 * DELAY_MS - 1, 5_000);
    expect(namespaces.bytesCrossed - crossed).to.be.within(20_000, 24_000);

    namespaces.cutLink();
    const dialled = await dial(PEER);
    dialled.on("close", () => closings.push("what was dialled meanwhile was closed"));
    dialled.write("never mind");
    expect(await echoMs(socket, "cut", CUT_MS)).to.equal(null);
    expect(closings).to.deep.equal([]);
    namespaces.heal();
    const again = await dial(PEER);
    expect(await echoMs(again, "healed", 5_000)).to.be.within(2 * DELAY_MS - 1, 5_000);
    for (const each of [socket, dialled, again]) each.destroy();
  });

  it("pass on at once what does not cross, and are gone when they are closed, with what runs in them", async () => {
    const namespaces = NetworkNamespaces.open();
    opened.push(namespaces);
    await namespaces.pass(0, { announced: ANNOUNCED, peer: PEER + 1, delayMs: 5_000 });
    await run(namespaces, 0, ECHO.replace(String(PEER), String(PEER + 1)));
    await run(namespaces, 0, DIALLER(namespaces.address(0)));
    const socket = await namespaces.place(0).dial(PEER);
    expect(await echoMs(socket, "near", 5_000)).not.to.equal(null);
    const closed = once(socket, "close");
    socket.on("error", () => undefined);
    await namespaces.close();
    await within({ what: "what ran there has ended", withinMs: 5_000 }, closed);
    for (const name of namespaces.names) expect(present()).not.to.include(name);
    expect(
      await namespaces
        .place(0)
        .dial(PEER)
        .catch(() => "refused"),
    ).to.equal("refused");
  });

  it("of a process that was killed are removed by the next that makes some", () => {
    const module = new URL("./network-namespaces.js", import.meta.url).href;
    const { stdout } = spawnSync(process.execPath, ["-e", KILLED, module], { encoding: "utf8" });
    const names = stdout.trim().split(" ");
    expect(names).to.have.length(2);
    expect(present()).to.include.members(names);
    opened.push(NetworkNamespaces.open());
    expect(present()).not.to.include.oneOf(names);
    expect(present()).to.include.members([...opened[0]!.names]);
  });

  function present(): readonly string[] {
    const { stdout } = spawnSync("ip", ["netns", "list"], { encoding: "utf8" });
    return stdout.split("\n").map((line) => line.split(" ")[0]!);
  }
});
