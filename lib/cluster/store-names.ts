/** What people call the stores of members, as the ring document and gossip have it. */
import { latin1Of } from "../bytes/latin1.js";
import type { Member } from "./membership.js";
import { comingMembers, type RingDocument } from "./ring-document.js";

/** By store id, 8 latin1 characters. What gossip says counts more than the document, which a member may have joined long ago. */
export function namesOfStores(document: RingDocument | null, heard: Iterable<Member>): Map<string, string> {
  const names = new Map<string, string>();
  for (const { storeId, name } of comingMembers(document?.pending ?? [])) names.set(storeId, name);
  for (const { storeId, name } of document?.members ?? []) names.set(storeId, name);
  for (const { contents } of heard) {
    if (contents.name !== "") names.set(latin1Of(Buffer.from(contents.storeId, "hex")), contents.name);
  }
  return names;
}
