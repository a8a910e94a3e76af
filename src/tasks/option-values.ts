import { z } from 'zod';
import { isLonger, isStorable } from '../text-length.ts';

/** A text that PostgreSQL stores as well, of so many characters, as PostgreSQL counts them. */
export function storableText(longest: number, what = 'it') {
  return z
    .string()
    .refine((given) => !isLonger(given, longest), `${what} has at most ${longest} characters`)
    .refine(isStorable, `${what} must be well-formed text without NUL`);
}

/** How many labels are kept in the result's detail, the best first. */
export const topK = z.int().min(1).max(99_999).optional();
