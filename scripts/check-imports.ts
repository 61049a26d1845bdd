/** Holds the sources to the rules of import-rules.ts: prints each violation as `file:line rule: message`, fails if any. */
import { fileURLToPath } from "node:url";
import { checkSource } from "./import-rules.js";
import { readSources } from "./source-tree.js";

/** From dist/scripts/check-imports.js. */
const root = fileURLToPath(new URL("../../", import.meta.url));
const violations = readSources(root).flatMap(checkSource);
for (const { path, line, rule, message } of violations) console.error(`${path}:${line} ${rule}: ${message}`);
if (violations.length > 0) process.exitCode = 1;
