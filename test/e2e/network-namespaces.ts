/**
 * Two network namespaces of the system, with a cable between them that can be pulled: two data centres on one machine. Each has
 * a switch (a bridge) that the cable (a pair of veth interfaces) ends in. So its own interface stays up when the cable is down, and its
 * system hears nothing of it: what is sent across vanishes, and nothing is refused or reset. Neighbours are known beforehand,
 * as those behind a router are; else the system itself would soon say that nobody answers.
 *
 * Invariant: namespaces do not outlive this process, or, where it is killed, the next one that makes some.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import type { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { textOf } from "./cluster-load.js";
import { isProcess } from "./cluster-process.js";
import type { AgentAnswer, AgentOrder } from "./namespace-agent.js";
import type { Place } from "./place.js";
import { isInstalled } from "./program.js";
import { within } from "./until.js";

export type Side = 0 | 1;

const SIDES = [0, 1] as const;
const CABLE = "cable";
const SWITCH = "switch";
/** With the process that made it, which removes it. */
const NAME = /^kindred-(\d+)-\d+-dc[12]$/;
const ANSWER_MS_MAX = 15_000;
const agentPath = fileURLToPath(new URL("./namespace-agent.js", import.meta.url));

let opened = 0;

export class NetworkNamespaces {
  readonly names: readonly [string, string];
  readonly #agents: readonly [Agent, Agent];
  readonly #removeNow: () => void;

  private constructor(names: readonly [string, string], removeNow: () => void) {
    this.names = names;
    this.#removeNow = removeNow;
    this.#agents = [new Agent(names[0]), new Agent(names[1])];
  }

  /** Why there can be none here, which is tried; null where there can. */
  static obstacle(): string | null {
    if (process.getuid?.() !== 0) return "only root may make network namespaces";
    if (!isInstalled("ip", "-V")) return "the program `ip` (of iproute2) is not installed";
    const name = nextNames()[0];
    try {
      ip("netns", "add", name);
      ip("netns", "exec", name, "true");
      ip("-n", name, "link", "add", SWITCH, "type", "bridge");
      ip("-n", name, "link", "add", CABLE, "type", "veth", "peer", "name", "other-end");
      return null;
    } catch (error) {
      return textOf(error);
    } finally {
      remove(name);
    }
  }

  /** REQUIRES that there is no obstacle. Throws what `ip` said where it fails all the same. */
  static open(): NetworkNamespaces {
    removeAbandoned();
    const names = nextNames();
    const removeNow = (): void => names.forEach(remove);
    process.on("exit", removeNow);
    try {
      make(names);
    } catch (error) {
      removeNow();
      process.removeListener("exit", removeNow);
      throw error;
    }
    return new NetworkNamespaces(names, removeNow);
  }

  place(side: Side): Place {
    const agent = this.#agents[side];
    return {
      command: ["ip", "netns", "exec", this.names[side], process.execPath],
      dial: (port) => agent.dial(port),
    };
  }

  /** What the other namespace reaches this one by. */
  address(side: Side): string {
    return addressOf(side);
  }

  /**
   * Passes what comes to port `announced` there on to port `peer` there: at once what comes from the same namespace, each chunk
   * `delayMs` later what comes from the other, and as much later what goes back.
   */
  async pass(
    side: Side,
    ports: { readonly announced: number; readonly peer: number; readonly delayMs: number },
  ): Promise<void> {
    await this.#agents[side].ask({ kind: "pass", address: addressOf(side), ...ports });
  }

  cutLink(): void {
    ip("-n", this.names[0], "link", "set", CABLE, "down");
  }

  heal(): void {
    ip("-n", this.names[0], "link", "set", CABLE, "up");
  }

  /** By the counters of the interface, in both directions: with what TCP, IP and Ethernet add. */
  get bytesCrossed(): number {
    const [cable] = JSON.parse(ip("-n", this.names[0], "-s", "-j", "link", "show", "dev", CABLE)) as [
      { readonly stats64: Readonly<Record<"rx" | "tx", { readonly bytes: number }>> },
    ];
    return cable.stats64.rx.bytes + cable.stats64.tx.bytes;
  }

  /** Ends all processes in the namespaces and removes these. */
  async close(): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.end()));
    this.#removeNow();
    process.removeListener("exit", this.#removeNow);
  }
}

/** A process within a namespace that makes connections there for us: a socket belongs where it was made, whoever holds it. */
class Agent {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: AgentAnswer, socket: Socket | undefined) => void>();
  #next = 0;

  constructor(namespace: string) {
    const args = ["netns", "exec", namespace, process.execPath, agentPath];
    this.#child = spawn("ip", args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    this.#child.on("error", () => undefined);
    this.#child.on("message", (answer: AgentAnswer, socket) => {
      const settle = this.#waiting.get(answer.id);
      this.#waiting.delete(answer.id);
      settle?.(answer, socket as Socket | undefined);
    });
  }

  async dial(port: number): Promise<Socket> {
    const socket = await this.ask({ kind: "dial", port });
    if (socket === undefined) throw new Error(`the connection to port ${port} was closed before it was handed over`);
    return socket;
  }

  ask(order: AgentOrder): Promise<Socket | undefined> {
    const id = this.#next++;
    const answered = new Promise<Socket | undefined>((resolve, reject) => {
      this.#waiting.set(id, ({ error }, socket) => (error === null ? resolve(socket) : reject(new Error(error))));
      this.#child.send({ id, order }, (error) => error !== null && reject(error));
    });
    return within({ what: `the agent in the namespace answers ${JSON.stringify(order)}`, withinMs: ANSWER_MS_MAX }, answered);
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill("SIGKILL");
    await once(this.#child, "exit");
  }
}

function nextNames(): readonly [string, string] {
  opened++;
  return [`kindred-${process.pid}-${opened}-dc1`, `kindred-${process.pid}-${opened}-dc2`];
}

function make(names: readonly [string, string]): void {
  for (const name of names) ip("netns", "add", name);
  ip("link", "add", CABLE, "netns", names[0], "type", "veth", "peer", "name", CABLE, "netns", names[1]);
  for (const side of SIDES) {
    const other = side === 0 ? 1 : 0;
    const inside = (...args: readonly string[]): string => ip("-n", names[side], ...args);
    inside("link", "set", "lo", "up");
    inside("link", "add", SWITCH, "address", hardwareAddressOf(side), "type", "bridge");
    inside("link", "set", CABLE, "master", SWITCH);
    inside("addr", "add", `${addressOf(side)}/24`, "dev", SWITCH);
    for (const device of [CABLE, SWITCH]) inside("link", "set", device, "up");
    const neighbour = ["lladdr", hardwareAddressOf(other), "dev", SWITCH, "nud", "permanent"];
    inside("neigh", "add", addressOf(other), ...neighbour);
  }
}

/** Nobody else sees these addresses. */
function addressOf(side: Side): string {
  return `10.77.0.${side + 1}`;
}

function hardwareAddressOf(side: Side): string {
  return `02:00:00:00:00:0${side + 1}`;
}

function ip(...args: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync("ip", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`ip ${args.join(" ")}: ${(error?.message ?? stderr).trim()}`);
  return stdout;
}

function remove(name: string): void {
  const { stdout } = spawnSync("ip", ["netns", "pids", name], { encoding: "utf8" });
  for (const id of (stdout ?? "").split("\n").filter((line) => line !== "")) {
    try {
      process.kill(Number(id), "SIGKILL");
    } catch {
      // It ended by itself.
    }
  }
  spawnSync("ip", ["netns", "del", name], { stdio: "ignore" });
}

/** Those of processes that were killed before they could. */
function removeAbandoned(): void {
  for (const line of ip("netns", "list").split("\n")) {
    const name = line.split(" ")[0]!;
    const maker = NAME.exec(name)?.[1];
    if (maker !== undefined && !isProcess(Number(maker))) remove(name);
  }
}
