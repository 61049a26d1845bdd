/** The answer of a look-up that may not wait. */

export const Peek = { ABSENT: 0, FOUND: 1, UNREAD: 2 } as const;

/** ABSENT: proved to be neither in memory nor in a table. UNREAD: only a read of the disk can tell. */
export type Peek = (typeof Peek)[keyof typeof Peek];

/** Where the value of the last FOUND lies: borrowed until the next call into the engine or the next await. */
export interface Found {
  buffer: Buffer;
  start: number;
  end: number;
}
