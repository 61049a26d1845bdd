/** What the nodes themselves say of their ring, asked as an operator would: who is a member, who keeps a key. */
import type { RepairReply } from "../../../lib/commands/cluster-operations.js";
import { pause } from "../../../lib/host/clock.js";
import type { SimClock } from "../sim-clock.js";
import type { SimNetwork } from "../sim-network.js";
import { clientPort, nodeName } from "./node-flags.js";
import { SimClient, type WireReply } from "./sim-client.js";

/** What of CLUSTER STATUS and CLUSTER WHERE is of interest here. */
interface RingStatus {
  readonly ringVersion: number;
  readonly members: readonly {
    readonly id: string;
    readonly name: string;
    readonly host: string | null;
    readonly state: string;
  }[];
}

interface KeyStatus {
  readonly members: readonly { readonly name: string; readonly role: string; readonly state: string }[];
}

interface SeenMember {
  readonly id: string;
  readonly name: string;
}

/** What of the ring document is of interest here. */
export interface SeenRing {
  readonly version: number;
  readonly members: readonly SeenMember[];
  readonly pending: readonly { readonly kind: string; readonly memberId?: string; readonly member?: SeenMember }[];
  readonly removed: readonly string[];
}

const ANSWER_MS_MAX = 2_500;
const COMPARED_POLL_MS = 100;

export class RingSight {
  readonly #clients: readonly SimClient[];
  readonly #clock: SimClock;

  constructor(options: { clock: SimClock; network: SimNetwork; nodes: number }) {
    const network = options.network.endpoint("operator");
    this.#clock = options.clock;
    this.#clients = Array.from({ length: options.nodes }, (_, index) => {
      return new SimClient({ clock: options.clock, network, port: clientPort(index), answerMsMax: ANSWER_MS_MAX });
    });
  }

  /** A name for what these nodes see in common; null unless they alone are one ring, know it, and hold each other for up. */
  async common(nodes: readonly number[]): Promise<string | null> {
    const views = await Promise.all(nodes.map((node) => this.#viewOf(this.#clients[node]!, nodes.length)));
    const [first] = views;
    return first !== undefined && views.every((view) => view === first) ? first : null;
  }

  /** Which node is which member. */
  async members(): Promise<ReadonlyMap<string, number>> {
    const found = new Map<string, number>();
    for (const client of this.#clients) {
      const answer = await ask(client, "CLUSTER", "STATUS");
      if (answer === null) continue;
      const { members } = JSON.parse(String(answer)) as RingStatus;
      for (const { id, name } of members)
        found.set(
          id,
          this.#clients.findIndex((_, index) => nodeName(index) === name),
        );
    }
    return found;
  }

  /** Records that these nodes have stored for, and given to, each other so far, node by node. */
  async recordsMoved(nodes: readonly number[]): Promise<string> {
    const sections = await Promise.all(nodes.map((node) => ask(this.#clients[node]!, "INFO", "peers")));
    return sections
      .map((section) =>
        String(section)
          .match(/^records_.*$/gm)
          ?.join(" "),
      )
      .join(", ");
  }

  /** The newest ring that any of these nodes knows; null where none answers. */
  async newestRing(nodes: readonly number[]): Promise<SeenRing | null> {
    let newest: SeenRing | null = null;
    for (const node of nodes) {
      const answer = await ask(this.#clients[node]!, "CLUSTER", "RING");
      if (answer === null) continue;
      const ring = JSON.parse(String(answer)) as SeenRing;
      if (ring.version > (newest?.version ?? 0)) newest = ring;
    }
    return newest;
  }

  /** Sends CLUSTER with these words; null for OK, else why not. */
  async tell(node: number, ...words: readonly string[]): Promise<string | null> {
    const outcome = await this.#clients[node]!.request(["CLUSTER", ...words]);
    if (outcome.kind === "answered") return String(outcome.reply).startsWith("OK") ? null : String(outcome.reply);
    return outcome.kind === "refused" ? outcome.text : "no answer";
  }

  /** What a comparison with all others finds, begun now; null where the node does not answer. */
  async compared(node: number): Promise<RepairReply | null> {
    const client = this.#clients[node]!;
    await ask(client, "CLUSTER", "REPAIR");
    for (;;) {
      const answer = await ask(client, "CLUSTER", "REPAIR", "STATUS");
      if (answer === null) return null;
      const reply = JSON.parse(String(answer)) as RepairReply;
      if (reply.state !== "comparing" && reply.state !== "summing up") return reply;
      await pause(this.#clock, COMPARED_POLL_MS);
    }
  }

  /** The nodes that keep a key, in the order of preference, as most of those who answer see it: one that waits to join knows only itself. */
  async ownersOf(key: string): Promise<readonly number[]> {
    const views = new Map<string, { readonly owners: readonly number[]; votes: number }>();
    for (const client of this.#clients) {
      const answer = await ask(client, "CLUSTER", "WHERE", key);
      if (answer === null) continue;
      const { members } = JSON.parse(String(answer)) as KeyStatus;
      const replicas = members.filter(({ role }) => role === "replica");
      const owners = replicas.map(({ name }) => this.#clients.findIndex((_, index) => nodeName(index) === name));
      const view = views.get(owners.join()) ?? { owners, votes: 0 };
      view.votes++;
      views.set(owners.join(), view);
    }
    const [first] = [...views.values()].sort((one, other) => other.votes - one.votes);
    return first?.owners ?? [];
  }

  async #viewOf(client: SimClient, nodes: number): Promise<string | null> {
    const answer = await ask(client, "CLUSTER", "STATUS");
    if (answer === null) return null;
    const status = JSON.parse(String(answer)) as RingStatus;
    const { ringVersion } = status;
    // Who died before it had asked to join is known to gossip only.
    const members = status.members.filter(({ host }) => host !== null);
    const isWhole = members.length === nodes && members.every(({ state }) => state === "up");
    return isWhole ? `version ${ringVersion}` : null;
  }
}

async function ask(client: SimClient, ...words: readonly string[]): Promise<WireReply> {
  const outcome = await client.request(words);
  return outcome.kind === "answered" ? outcome.reply : null;
}
