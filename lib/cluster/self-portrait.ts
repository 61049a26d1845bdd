/** What this node says of itself: to the ring, to gossip, and in the hello of each link. Settings are asked at each use. */
import type { ClusterOptions } from "./cluster-options.js";
import { type HelloSettings, helloSettings } from "./hello-settings.js";
import type { MemberId } from "./member.js";
import type { MemberContents } from "./member-entry.js";
import type { RunsTold } from "./own-runs.js";
import type { MemberSelf } from "./ring-changes.js";

type PortraitOptions = Pick<
  ClusterOptions,
  "peers" | "settings" | "storeId" | "sequenceLease" | "load" | "softwareVersion" | "isRestored"
>;

export class SelfPortrait {
  readonly #id: MemberId;
  readonly #options: PortraitOptions;
  #lease = 0;

  constructor(id: MemberId, options: PortraitOptions) {
    this.#id = id;
    this.#options = options;
  }

  /** As a member of the ring document. */
  self(): MemberSelf {
    const { host, dc, rack, weight } = this.#options.settings;
    return { id: this.#id, storeId: this.#options.storeId(), name: this.#name, host, dc, rack, weight };
  }

  /** As gossip begins with it. */
  contents(known: Pick<MemberContents, "state" | "ringVersion">): MemberContents {
    const { peers, settings, storeId, sequenceLease, load, softwareVersion } = this.#options;
    this.#lease = sequenceLease();
    return {
      name: this.#name,
      peerAddress: settings.peerAddress(),
      clientAddress: settings.clientAddress(),
      load: load(),
      storeId: Buffer.from(storeId(), "latin1").toString("hex"),
      sequenceLease: this.#lease,
      suspects: [],
      softwareVersion,
      protocolVersion: peers.versions.max,
      ...known,
      unknown: [],
    };
  }

  /** What gossip is to say of the lease, if that has changed. */
  leaseNews(): Partial<Pick<MemberContents, "sequenceLease">> {
    const lease = this.#options.sequenceLease();
    if (lease === this.#lease) return {};
    this.#lease = lease;
    return { sequenceLease: lease };
  }

  /** `members`: of its ring, 0 while it knows none. */
  hello(members: number, runs: RunsTold): HelloSettings {
    const { settings, isRestored } = this.#options;
    return helloSettings({ replicas: settings.replicas, name: this.#name, members, runs: isRestored() ? null : runs });
  }

  /** A node that does not listen yet has no name made from its port. */
  get #name(): string {
    return this.#options.settings.name() || this.#id;
  }
}
