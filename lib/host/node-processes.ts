/** Processes of this machine, read from /proc where there is one. */
import { readFileSync } from "node:fs";
import type { Processes, ProcessIdentity } from "./processes.js";

/** Stands for what the machine does not tell. */
const UNTOLD = "";

export class NodeProcesses implements Processes {
  self(): ProcessIdentity {
    return { pid: process.pid, boot: bootId(), started: startOf(process.pid) ?? UNTOLD };
  }

  isRunning(identity: ProcessIdentity): boolean {
    const boot = bootId();
    if (boot !== UNTOLD && identity.boot !== UNTOLD && boot !== identity.boot) return false;
    if (!isPidInUse(identity.pid)) return false;
    const started = startOf(identity.pid);
    if (started !== null && identity.started !== UNTOLD) return started === identity.started;
    // Without start times a process of our own pid is this one, so the lock's owner is gone.
    return identity.pid !== process.pid;
  }
}

function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    return UNTOLD;
  }
}

/** The start time in clock ticks since boot: field 22 of the process's stat. Null where it cannot be read. */
function startOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The second field is the command's name in parentheses and may contain anything, parentheses too.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
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
