/** Processes of this machine, read from /proc where there is one. */
import { readFileSync } from "node:fs";
import type { Processes, ProcessIdentity } from "./processes.js";

/** Stands for what the machine does not tell. */
const UNTOLD = "";

export class NodeProcesses implements Processes {
  self(): ProcessIdentity {
    return { pid: process.pid, boot: bootId(), started: statOf(process.pid)?.started ?? UNTOLD };
  }

  isRunning(identity: ProcessIdentity): boolean {
    const boot = bootId();
    if (boot !== UNTOLD && identity.boot !== UNTOLD && boot !== identity.boot) return false;
    if (!isPidInUse(identity.pid)) return false;
    const stat = statOf(identity.pid);
    // A zombie has ended; its parent has only not asked how.
    if (stat?.state === "Z") return false;
    const started = stat?.started ?? null;
    if (started !== null && identity.started !== UNTOLD) return started === identity.started;
    // Without start times a process of our own pid is this one, so the lock's owner is gone.
    return identity.pid !== process.pid;
  }
}

/** How many files and sockets this process may have open at once; null where the system does not tell. */
export function descriptorsMax(): number | null {
  try {
    const line = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"));
    return line === null ? null : Number(line[1]);
  } catch {
    return null;
  }
}

function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    return UNTOLD;
  }
}

/** State and start time (in clock ticks since boot): fields 3 and 22 of the process's stat. Null where it cannot be read. */
function statOf(pid: number): { readonly state: string | undefined; readonly started: string | null } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the command's name in parentheses and may contain anything, parentheses too.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return { state: fields[0], started: fields[19] ?? null };
  } catch {
    return null;
  }
}

function isPidInUse(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
