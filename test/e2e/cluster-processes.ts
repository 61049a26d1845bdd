/** Members of one ring as real processes, and what can happen to them: killed, stopped, cut off. */
import { LinkMesh } from "./link-mesh.js";
import type { NetworkNamespaces, Side } from "./network-namespaces.js";
import { here, type Place } from "./place.js";
import { type MemberPorts, memberPorts, ownPorts } from "./ports.js";
import type { ServerProcess, ServerSettings, Servers } from "./server-process.js";
import { until } from "./until.js";
import type { WireClient, WireReply } from "./wire-client.js";

export interface ClusterOptions {
  readonly nodes?: number;
  /** Of all members. */
  readonly settings?: ServerSettings;
  /** Of one member besides. */
  readonly own?: (at: number) => ServerSettings;
  /** With proxies between members, so that one can be cut off. */
  readonly isMeshed?: boolean;
  /** Members in two network namespaces, with a link between them that takes so long one way. Not together with a mesh. */
  readonly halves?: Halves;
}

export interface Halves {
  readonly namespaces: NetworkNamespaces;
  readonly sideOf: (at: number) => Side;
  readonly delayMs: number;
}

export interface MemberProcess {
  readonly name: string;
  readonly ports: MemberPorts;
  readonly place: Place;
  readonly server: ServerProcess;
}

/** What CLUSTER STATUS says that is of interest here. */
interface Status {
  readonly members: readonly { readonly name: string; readonly state: string }[];
  readonly pending: readonly unknown[];
  readonly warnings: readonly string[];
}

const AGREED_MS_MAX = 30_000;
const NODE_LETTER = 97;

export class ClusterProcesses {
  readonly members: readonly MemberProcess[];
  readonly #mesh: LinkMesh | null;
  /** What lies between two parts. */
  readonly #link: LinkMesh | NetworkNamespaces | null;

  private constructor(members: readonly MemberProcess[], mesh: LinkMesh | null, halves: Halves | undefined) {
    this.members = members;
    this.#mesh = mesh;
    this.#link = halves?.namespaces ?? mesh;
  }

  /** Starts members `node-a`, `node-b`, ... and waits until all know that all own their share. */
  static async start(
    servers: Servers,
    { nodes = 3, settings = {}, isMeshed = false, halves, own: ownOf = () => ({}) }: ClusterOptions = {},
  ): Promise<ClusterProcesses> {
    const ports = halves === undefined ? await memberPorts(nodes) : ownPorts(nodes);
    const mesh = isMeshed ? new LinkMesh() : null;
    for (const [at, { announcedPeer, peer }] of ports.entries()) await mesh?.add({ at, announced: announcedPeer, peer });
    for (const [at, { announcedPeer, peer }] of ports.entries()) {
      await halves?.namespaces.pass(halves.sideOf(at), { announced: announcedPeer, peer, delayMs: halves.delayMs });
    }
    const addresses = ports.map((_, at) => halves?.namespaces.address(halves.sideOf(at)) ?? "127.0.0.1");
    const isProxied = isMeshed || halves !== undefined;
    const seeds = ports.map(({ peer, announcedPeer }, at) => `${addresses[at]}:${isProxied ? announcedPeer : peer}`).join(",");
    const begin = async (at: number): Promise<MemberProcess> => {
      const name = `node-${String.fromCharCode(NODE_LETTER + at)}`;
      const { client, peer, announcedPeer } = ports[at]!;
      const own = { port: `${client}`, "peer-port": `${peer}`, name, host: name, seeds };
      const announced = {
        ...(isProxied && { "announce-peer-port": `${announcedPeer}` }),
        ...(halves !== undefined && { "announce-ip": addresses[at]! }),
      };
      const place = halves?.namespaces.place(halves.sideOf(at)) ?? here;
      const fixed = { ...settings, ...own, ...announced, ...ownOf(at) };
      return { name, ports: ports[at]!, place, server: await servers.start({ settings: fixed, place }) };
    };
    // The first finds itself first among the seeds and founds the ring that the others join.
    const founder = await begin(0);
    const others = await Promise.all(ports.slice(1).map((_, at) => begin(at + 1)));
    const cluster = new ClusterProcesses([founder, ...others], mesh, halves);
    await cluster.agreed();
    return cluster;
  }

  port(at: number): number {
    return this.members[at]!.ports.client;
  }

  place(at: number): Place {
    return this.members[at]!.place;
  }

  connect(at: number): Promise<WireClient> {
    return this.members[at]!.server.connect();
  }

  kill(at: number): Promise<unknown> {
    return this.members[at]!.server.kill();
  }

  /** On the same ports and directory; resolves when it answers clients. */
  restart(at: number): Promise<unknown> {
    return this.members[at]!.server.restart();
  }

  /** SIGSTOP: it keeps its connections and does nothing. */
  suspend(at: number): void {
    process.kill(this.members[at]!.server.pid, "SIGSTOP");
  }

  resume(at: number): void {
    process.kill(this.members[at]!.server.pid, "SIGCONT");
  }

  /** REQUIRES that the cluster was started meshed and that the member answers. */
  async cutOff(at: number): Promise<void> {
    this.#mesh!.cutOff({ peerId: await this.#idOf(at), at });
  }

  /** From now on what passes between these members and the others takes so long, and is counted. REQUIRES as `cutOff`. */
  async partTwo(side: readonly number[], delayMs: number): Promise<void> {
    const peerIds = new Set(await Promise.all(side.map((at) => this.#idOf(at))));
    this.#mesh!.part({ peerIds, at: new Set(side) }, delayMs);
  }

  /** Nothing passes between the two parts. */
  cutLink(): void {
    this.#link!.cutLink();
  }

  /** That have passed between the two parts, in both directions. */
  get bytesCrossed(): number {
    return this.#link!.bytesCrossed;
  }

  async #idOf(at: number): Promise<string> {
    // Cluster clients are shown the member's own id filled up with zeros.
    return String(await this.ask(at, "CLUSTER", "MYID")).slice(0, 16);
  }

  heal(): void {
    this.#link!.heal();
  }

  /** Waits until these members see all members up and own their shares, with no change pending. */
  async agreed(by: readonly number[] = this.members.map((_, at) => at)): Promise<void> {
    await until({ what: "all members see each other up, in one ring", withinMs: AGREED_MS_MAX }, async () => {
      const statuses = await Promise.all(by.map((at) => this.status(at)));
      const isSettled = ({ members, pending, warnings }: Status): boolean =>
        members.length === this.members.length &&
        members.every(({ state }) => state === "up") &&
        pending.length === 0 &&
        warnings.length === 0;
      return statuses.every(isSettled) ? true : null;
    });
  }

  async status(at: number): Promise<Status> {
    return JSON.parse(String(await this.ask(at, "CLUSTER", "STATUS"))) as Status;
  }

  /** One command on a connection of its own. */
  async ask(at: number, ...args: readonly string[]): Promise<WireReply> {
    const client = await this.connect(at);
    try {
      return await client.call(...args);
    } finally {
      await client.close();
    }
  }

  /** Closes the proxies of a mesh; the members end with their `Servers`. */
  async close(): Promise<void> {
    await this.#mesh?.close();
  }
}
