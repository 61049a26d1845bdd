/** The two kinds of entries that logs, memory tables and tables hold. The numbers are part of the stored formats. */

export type EntryKind = typeof TOMBSTONE | typeof PUT;

/** The key was removed: hides older entries of it; carries no bytes. */
export const TOMBSTONE = 0;
/** The key has this value. */
export const PUT = 1;
