import type { Device } from '../devices/device.ts';
import type { SessionSpec } from '../wire/session-spec.ts';

/**
 * Small batches win on a CPU, since their activations stay in its cache: MiniLM int8 on 2 cores and glosses of 18 tokens runs
 * fastest at 512 to 1,024 and falls to half of that at 16,384. 1,024 has half the messages of 512, and is the faster one for
 * long texts.
 */
const ON_CPU = 1024;

/** Enough to keep a GPU busy. Not measured on one yet. */
const ON_GPU = 16_384;

/**
 * Numbers that a batch may have for all tokens of the vocabulary: 128 MB of float32, of which the graph holds two. 1,024 tokens of
 * BERT's vocabulary of 30,522 numbers fit, of XLM-R's 250,002 only 134.
 */
const VOCABULARY_NUMBERS = 2 ** 25;

/** Most tokens of a batch where nobody says: sequences times the longest of them. */
export function tokenBudgetOf({ kind }: Device, spec: SessionSpec): number {
  const budget = kind === 'cpu' ? ON_CPU : ON_GPU;
  return spec.output === 'sparse'
    ? Math.min(budget, Math.ceil(VOCABULARY_NUMBERS / spec.dimensions))
    : budget;
}
