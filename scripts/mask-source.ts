/**
 * Finds the code in a TypeScript source: everything that is a comment, or inside a string, a template's text or a regular
 * expression, becomes spaces; quotes and line breaks stay, so that positions and lines are those of the source. A scanner,
 * not a parser: whether a slash divides or opens a regular expression is told from what stands before it.
 */

export interface MaskedSource {
  /** As long as the source. */
  readonly code: string;
}

/** What encloses the position: code (with the braces open in it), or the text of a template. */
type Frame = { readonly kind: "code"; braces: number } | { readonly kind: "template" };

export function maskSource(text: string): MaskedSource {
  const masker = new Masker(text);
  return { code: masker.run() };
}

class Masker {
  readonly #text: string;
  readonly #frames: Frame[] = [{ kind: "code", braces: 0 }];
  #at = 0;
  #out = "";

  constructor(text: string) {
    this.#text = text;
  }

  run(): string {
    while (this.#at < this.#text.length) {
      if (this.#frame.kind === "template") this.#stepTemplate();
      else this.#stepCode(this.#frame);
    }
    return this.#out;
  }

  get #frame(): Frame {
    return this.#frames[this.#frames.length - 1] ?? { kind: "code", braces: 0 };
  }

  #stepCode(frame: { braces: number }): void {
    const two = this.#text.slice(this.#at, this.#at + 2);
    const one = two.charAt(0);
    if (two === "//") this.#blank(this.#endOf(/$/gm));
    else if (two === "/*") this.#blank(this.#endOf(/\*\//g));
    else if (one === '"' || one === "'") this.#quoted(one);
    else if (one === "/" && this.#opensRegularExpression()) this.#regularExpression();
    else if (one === "`") this.#enter({ kind: "template" });
    else if (one === "}" && frame.braces === 0 && this.#frames.length > 1) this.#leave();
    else {
      if (one === "{") frame.braces++;
      if (one === "}") frame.braces--;
      this.#keep(1);
    }
  }

  #stepTemplate(): void {
    if (this.#text.startsWith("${", this.#at)) {
      this.#keep(1);
      this.#enter({ kind: "code", braces: 0 });
    } else if (this.#text[this.#at] === "`") this.#leave();
    else this.#blank(this.#at + (this.#text[this.#at] === "\\" ? 2 : 1));
  }

  #enter(frame: Frame): void {
    this.#frames.push(frame);
    this.#keep(1);
  }

  #leave(): void {
    this.#frames.pop();
    this.#keep(1);
  }

  #quoted(quote: string): void {
    const start = this.#at + 1;
    let end = start;
    while (end < this.#text.length && this.#text[end] !== quote && this.#text[end] !== "\n")
      end += this.#text[end] === "\\" ? 2 : 1;
    this.#keep(1);
    this.#blank(end);
    this.#keep(1);
  }

  #regularExpression(): void {
    let isInClass = false;
    let end = this.#at + 1;
    for (; end < this.#text.length && this.#text[end] !== "\n"; end++) {
      const char = this.#text[end];
      if (char === "\\") end++;
      else if (char === "[") isInClass = true;
      else if (char === "]") isInClass = false;
      else if (char === "/" && !isInClass) break;
    }
    this.#blank(end + 1);
  }

  /** A slash after a value divides; after an operator, an opening bracket, a statement's end or a keyword it opens. */
  #opensRegularExpression(): boolean {
    const before = this.#out.trimEnd();
    if (before === "") return true;
    if (/\b(?:return|typeof|case|in|of|do|else|void|delete|throw|new|await|yield)$/.test(before)) return true;
    return !/[\w$)\]}"'`]$/.test(before);
  }

  #endOf(pattern: RegExp): number {
    pattern.lastIndex = this.#at + (pattern.flags.includes("m") ? 0 : 2);
    const match = pattern.exec(this.#text);
    return match === null ? this.#text.length : match.index + match[0].length;
  }

  #keep(length: number): void {
    this.#out += this.#text.slice(this.#at, this.#at + length);
    this.#at += length;
  }

  #blank(end: number): void {
    this.#out += this.#text.slice(this.#at, end).replace(/[^\n]/g, " ");
    this.#at = Math.min(end, this.#text.length);
  }
}
