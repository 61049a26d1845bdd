/**
 * INFO: sections of `name:value` lines. What the sections hold comes from providers given by the constructor, so that
 * this file knows neither the engine nor the process.
 */
import type { Command } from "./command.js";

export type InfoField = readonly [name: string, value: string | number];

export interface InfoSection {
  /** As its heading shows it: `Server`. Asked for in any case. */
  readonly name: string;
  /** Shown when no section is named; the others by `all` or `everything`, or by name. */
  readonly shown: "by default" | "when asked";
  fields(): Iterable<InfoField>;
}

export class InfoSections {
  readonly #sections: readonly InfoSection[];

  /** In the order in which they are shown. */
  constructor(sections: readonly InfoSection[]) {
    this.#sections = sections;
  }

  /** The text for the sections asked for: none means the default ones, unknown ones are left out. */
  render(asked: readonly string[]): string {
    const words = new Set(asked.map((word) => word.toLowerCase()));
    const hasAll = words.has("all") || words.has("everything");
    const hasDefault = words.size === 0 || words.has("default");
    const chosen = this.#sections.filter(
      (section) => hasAll || words.has(section.name.toLowerCase()) || (hasDefault && section.shown === "by default"),
    );
    return chosen.map(renderSection).join("\r\n");
  }
}

function renderSection(section: InfoSection): string {
  let text = `# ${section.name}\r\n`;
  for (const [name, value] of section.fields()) text += `${name}:${value}\r\n`;
  return text;
}

/** Builds INFO. */
export function infoCommands(sections: InfoSections): readonly Command[] {
  return [
    {
      name: "info",
      arity: -1,
      flags: ["loading", "stale"],
      keys: null,
      since: "1.0.0",
      group: "server",
      summary: "What the node is, holds and did, by section.",
      arguments: [{ name: "section", type: "string", optional: true, multiple: true }],
      run: (_, call) => {
        const asked = call.args.slice(1).map((argument) => argument.toString("latin1"));
        call.reply.verbatim(sections.render(asked));
      },
    },
  ];
}
