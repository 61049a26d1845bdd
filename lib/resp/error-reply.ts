/**
 * The one place that turns failures into error replies. Only an `OperatingError` has a reply: anything else is a bug, is
 * thrown on, and ends the process.
 */
import { unreachable } from "../assert.js";
import { type ErrorCode, OperatingError } from "../errors.js";

/** The text of the error reply, its code first (`IOERR no space left`). Throws what is not an `OperatingError`. */
export function errorReplyOf(error: unknown): string {
  if (!(error instanceof OperatingError)) throw error;
  return `${prefixOf(error.code)} ${error.message}`;
}

/** The first word of the reply, which client libraries match on. */
function prefixOf(code: ErrorCode): string {
  switch (code) {
    case "IO":
    case "CORRUPT":
      return "IOERR";
    case "BUSY":
      return "BUSY";
    case "QUORUM":
    case "TIMEOUT":
      return "QUORUM";
    case "CONFLICT":
      return "CONFLICT";
    case "ARGUMENT":
    case "CLOSED":
    case "CONFIG":
    case "LOCKED":
    case "UNAVAILABLE":
      return "ERR";
    default:
      return unreachable(code);
  }
}
