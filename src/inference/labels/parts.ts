import { limits } from '../../limits.ts';
import type { LabelTaskOptions } from '../../tasks/task-options.ts';

/** How many texts are made ready for the model at a time: each is as many sequences as there are labels to try. */
export function textsAtOnce({ labels }: LabelTaskOptions): number {
  return Math.max(1, Math.floor(limits.sequencesAtOnce / Math.max(1, labels?.length ?? 1)));
}

/** A list in parts of at most so many. */
export function inParts<Item>(items: readonly Item[], size: number): Item[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, part) =>
    items.slice(part * size, (part + 1) * size),
  );
}
