/** The commands on keys, as a node has them, and MEMORY USAGE in its container. */
import type { Command } from "../../lib/commands/command.js";
import { expiryCommands } from "../../lib/commands/expiry.js";
import { keyCommands } from "../../lib/commands/keys.js";
import { memoryUsage } from "../../lib/commands/object.js";
import { stringCommands } from "../../lib/commands/strings.js";

export const keyedCommands: readonly Command[] = [...stringCommands, ...keyCommands, ...expiryCommands];

const memory: Command = { ...memoryUsage, name: "memory", arity: -2, subcommands: [memoryUsage] };

/** Every command whose table is tested. */
export const commands: readonly Command[] = [...keyedCommands, memory];
