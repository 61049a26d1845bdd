/** Telling others of a ring document, each once and all at the same time. */
import { messageOf, OperatingError } from "../errors.js";
import type { MemberId } from "./member.js";

/** Resolves with true when one of them knows it, or there is nobody to be told. `onFailure`: told why one does not, as far as that is known. */
export async function tellAll(
  others: readonly MemberId[],
  { tell, onFailure }: { readonly tell: (to: MemberId) => Promise<void>; readonly onFailure: (text: string) => void },
): Promise<boolean> {
  const told = await Promise.all(
    others.map(async (to) => {
      try {
        await tell(to);
        return true;
      } catch (error) {
        if (!(error instanceof OperatingError)) throw error;
        onFailure(messageOf(error));
        return false;
      }
    }),
  );
  return told.length === 0 || told.includes(true);
}
