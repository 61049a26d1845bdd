/** Lists of a few equal numbers, of which each request in flight has some: copied from one that is kept, which is faster than filling. */

/** What makes new lists of `value`, of a length that is asked for often. */
export function listsOf(value: number): (length: number) => number[] {
  const models: number[][] = [];
  return (length) => {
    models[length] ??= new Array<number>(length).fill(value);
    return models[length].slice();
  };
}
