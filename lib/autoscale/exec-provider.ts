/**
 * Members that an orchestrator runs: a command of the operator's is told how many there are to be. Which one goes, and that it
 * leaves the ring before it ends, is the orchestrator's part: of members with numbers it takes the last one, as a StatefulSet does.
 */
import { OperatingError } from "../errors.js";
import type { Programs } from "../host/programs.js";
import type { ObservedMember } from "./observation.js";
import type { Provider } from "./provider.js";

export interface ExecOptions {
  readonly programs: Programs;
  /** The program and its arguments, at least the program: the wanted count follows as the last one. */
  readonly command: readonly [string, ...string[]];
  readonly withinMs: number;
}

/** Not called KINDRED_...: a node that the command starts would take it for a setting. */
export const COUNT_VARIABLE = "AUTOSCALE_MEMBERS";

export class ExecProvider implements Provider {
  readonly #options: ExecOptions;

  constructor(options: ExecOptions) {
    this.#options = options;
  }

  leavers(members: readonly ObservedMember[]): readonly string[] {
    const sorted = [...members].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }));
    return sorted.slice(-1).map(({ id }) => id);
  }

  grow({ to }: { readonly to: number }): Promise<void> {
    return this.#tell(to);
  }

  shrink({ to }: { readonly to: number }): Promise<void> {
    return this.#tell(to);
  }

  async #tell(count: number): Promise<void> {
    const { programs, command, withinMs } = this.#options;
    const [program, ...args] = command;
    const environment = { [COUNT_VARIABLE]: String(count) };
    const end = await programs.run({ program, args: [...args, String(count)], environment, withinMs });
    if (end.code === 0) return;
    const how = end.isLate
      ? `did not end within ${withinMs / 1_000} s (--command-timeout)`
      : `ended with ${end.signal ?? `exit code ${end.code}`}`;
    const said = (end.errors.trim() || end.output.trim()).replace(/\s+/g, " ").slice(-300);
    throw new OperatingError("UNAVAILABLE", `${command.join(" ")} ${count} ${how}${said === "" ? "" : `: ${said}`}`);
  }
}
