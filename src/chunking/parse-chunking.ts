import { z } from 'zod';
import { UserError } from '../errors.ts';
import { didYouMean } from '../nearest.ts';
import { isLonger, isStorable } from '../text-length.ts';
import type { Chunking } from './types.ts';

const STRATEGIES = ['tokens', 'recursive', 'markdown'] as const;

const fields = z.strictObject({
  strategy: z.enum(STRATEGIES),
  size: z.int().min(8).max(8192).default(256),
  overlap: z.int().min(0).optional(),
  separators: z
    .array(
      z
        .string()
        .min(1)
        .refine((separator) => !isLonger(separator, 100), 'has at most 100 characters')
        // A lone surrogate would cut a character in two.
        .refine(isStorable, 'must be well-formed text without NUL'),
    )
    .min(1)
    .max(20)
    .optional(),
});

const schema = fields
  .transform(({ overlap, ...given }) => ({
    ...given,
    overlap: overlap ?? Math.min(32, Math.floor(given.size / 8)),
  }))
  .refine(({ overlap, size }) => overlap < size / 2, {
    path: ['overlap'],
    message: 'must be less than half of size',
  })
  .refine(({ strategy, separators }) => strategy !== 'tokens' || !separators, {
    path: ['separators'],
    message: 'go with the strategies recursive and markdown only',
  });

/**
 * Checks the chunking that a user gave as JSON: `{"strategy": "recursive", "size": 256, "overlap": 32}`. Without
 * `size` it is 256, without `overlap` it is 32, or an eighth of a smaller size. embedder.check_chunking in SQL has the same
 * rules (test/sql/options.test.ts).
 * @throws UserError naming in one line all that does not fit
 */
export function parseChunking(value: unknown): Chunking {
  const result = schema.safeParse(value);
  if (result.success) {
    return result.data;
  }
  const problems = result.error.issues.map(({ path, message }) => [...path, message].join(': '));
  throw new UserError(`The chunking is not right: ${problems.join('; ')}`, {
    hint:
      meant(value) +
      'It looks like {"strategy": "recursive", "size": 256, "overlap": 32}; strategies: ' +
      `${STRATEGIES.join(', ')}`,
  });
}

/** What was meant by a field or a strategy that there is not. */
function meant(value: unknown): string {
  const names = Object.keys(fields.shape);
  const unknown = Object.keys(Object(value)).find((name) => !names.includes(name));
  return unknown === undefined
    ? didYouMean(String(Object(value).strategy), STRATEGIES)
    : didYouMean(unknown, names);
}
