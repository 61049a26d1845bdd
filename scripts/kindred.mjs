#!/usr/bin/env node
/** The `kindred` command of this folder, for npx: as `npm start`, it installs and builds what is missing first. */

/** How often it is looked whether npx has ended. */
const PARENT_LOOK_MS = 500;

// A SIGTERM to npx ends its shell, which passes it on to nobody: who is left without its parent stops as if it had got it.
if (process.env.npm_command === "exec") {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    process.kill(process.pid, "SIGTERM");
  }, PARENT_LOOK_MS);
  timer.unref();
}

process.argv.splice(2, 0, "run");
await import("./bootstrap.mjs");
