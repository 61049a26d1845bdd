/** The Random seam. Seeded in simulation. */

export interface Random {
  /** Uniform in [0, 1). Fast; not for secrets. */
  fraction(): number;
  /** Cryptographically strong (seeded in simulation): ids, challenges, keys. */
  bytes(length: number): Buffer;
}
