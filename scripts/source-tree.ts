/** Reads the project's own sources for the checkers. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import type { Source } from "./import-rules.js";

export const SOURCE_FOLDERS = ["lib", "test", "bench", "scripts"];

/** Every TypeScript source below the folders of `root`; a missing folder is empty. */
export function readSources(root: string, folders: readonly string[] = SOURCE_FOLDERS): Source[] {
  return folders.flatMap((folder) => {
    if (!existsSync(join(root, folder))) return [];
    return readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .sort()
      .map((name) => {
        const file = join(root, folder, name);
        return { path: relative(root, file).split(sep).join("/"), text: readFileSync(file, "utf8") };
      });
  });
}
