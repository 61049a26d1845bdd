#!/usr/bin/env node
/** The `kindred` command of this folder, for npx: as `npm start`, it installs and builds what is missing first. */
process.argv.splice(2, 0, "run");
await import("./bootstrap.mjs");
