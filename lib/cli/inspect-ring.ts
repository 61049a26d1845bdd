/** `kindred status`, `ring` and `where`: ask a running node, print a table or its JSON. */
import type { RingReply, StatusReply, WhereReply } from "../commands/cluster-view.js";
import { OperatingError } from "../errors.js";
import { askNode, type NodeTarget } from "./ask-node.js";
import { ringText, statusText, whereText } from "./ring-text.js";
import type { Style } from "./table.js";

export interface RingQuestion {
  readonly target: NodeTarget;
  readonly format: "table" | "json";
  readonly style: Style;
  readonly output: (text: string) => void;
}

export async function runStatus(question: RingQuestion): Promise<void> {
  const answer = await ask(question, ["CLUSTER", "STATUS"], "members");
  if (answer !== null) question.output(statusText(answer as StatusReply, question.style));
}

export async function runRing(question: RingQuestion): Promise<void> {
  const answer = await ask(question, ["CLUSTER", "RING"], "ownership");
  if (answer !== null) question.output(ringText(answer as RingReply, question.style));
}

export async function runWhere(key: string, question: RingQuestion): Promise<void> {
  const answer = await ask(question, ["CLUSTER", "WHERE", key], "members");
  if (answer !== null) question.output(whereText(answer as WhereReply, question.style));
}

/** The answer, which has a list of that name; null when it was printed as JSON. */
async function ask(
  { target, format, output }: RingQuestion,
  request: readonly [string, ...string[]],
  list: string,
): Promise<unknown> {
  const answer = await askNode(target, request);
  if (format === "json") {
    output(`${JSON.stringify(answer, null, 2)}\n`);
    return null;
  }
  if (!Array.isArray((answer as Readonly<Record<string, unknown>>)[list])) {
    throw new OperatingError("UNAVAILABLE", `the node's answer has no ${list}: try --json, or a kindred of its version`);
  }
  return answer;
}
