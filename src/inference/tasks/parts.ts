import { limits } from '../backend/limits.ts';
import type { LabelTaskOptions } from './task-options.ts';

/** How many texts are made ready for the model at a time: each is as many rows as there are labels to try. */
export function textsAtOnce({ labels }: LabelTaskOptions): number {
  return Math.max(1, Math.floor(limits.rowsAtOnce / Math.max(1, labels?.length ?? 1)));
}

/** Called as texts are done, with their places in the list and their results, in the same order. */
type OnBatch<Result> = (places: readonly number[], results: readonly Result[]) => void;

/** Does a list of texts in parts, one after the other; `onBatch` is given the places in the whole list. */
export async function inParts<Result>(
  texts: readonly string[],
  size: number,
  onBatch: OnBatch<Result> | undefined,
  each: (part: readonly string[], onBatch: OnBatch<Result>) => Promise<Result[]>,
): Promise<Result[]> {
  const results: Result[] = [];
  for (let from = 0; from < texts.length; from += size) {
    const part = await each(texts.slice(from, from + size), (places, done) =>
      onBatch?.(
        places.map((place) => from + place),
        done,
      ),
    );
    for (const result of part) results.push(result);
  }
  return results;
}
