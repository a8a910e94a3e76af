import { median } from './statistics.ts';

/** What two things that were measured in turn came to. */
export interface Comparison {
  readonly a: number[];
  readonly b: number[];
  /** a / b of each two neighbouring runs. */
  readonly ratios: number[];
  /** The median of `ratios`. */
  readonly ratio: number;
}

/**
 * Measures a and b in turn: a b a b ... a. A machine gets slower and faster by the minute, so only neighbours are
 * compared, each with the one before it and the one after it.
 */
export async function alternate(
  rounds: number,
  a: () => Promise<number>,
  b: () => Promise<number>,
): Promise<Comparison> {
  const as = [await a()];
  const bs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    bs.push(await b());
    as.push(await a());
  }
  const ratios = bs.flatMap((value, i) => [as[i]! / value, as[i + 1]! / value]);
  return { a: as, b: bs, ratios, ratio: median(ratios) };
}
