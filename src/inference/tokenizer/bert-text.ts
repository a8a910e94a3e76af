import { z } from 'zod';
import { stepSchema, stepsOf } from './steps.ts';

/**
 * Two places where @huggingface/tokenizers 0.2 differs from the reference tokenizer (in Rust) for BERT's normalizer
 * (the second one for any that takes away capitals), mended in the text before it is handed over. Checked against the reference for each code point below U+30000; what
 * is left are marks and symbols that came to Unicode after the reference's tables were made.
 *
 * - CJK characters beyond the basic plane are words of their own; the library looks at UTF-16 units and misses them.
 * - A capital sigma becomes a small one; JavaScript's toLowerCase gives the final form at the end of a word.
 *
 * @returns the function to put a text through, for the tokenizer of this `tokenizer.json`
 */
export function menderFor(tokenizerJson: unknown): (text: string) => string {
  const steps = stepsOf(definition.safeParse(tokenizerJson).data?.normalizer);
  const han = steps.some(({ type, handle_chinese_chars: does }) => type === 'BertNormalizer' && does);
  const lowercase = steps.some(
    ({ type, lowercase: does }) => type === 'Lowercase' || (type === 'BertNormalizer' && does),
  );
  if (!han && !lowercase) {
    return (text) => text;
  }
  return (text) => {
    // Nearly no text holds either; this is the one look that most of them get.
    if (!SUSPECT.test(text)) {
      return text;
    }
    const spaced = han ? text.replace(RARE_HAN, ' $& ') : text;
    return lowercase ? spaced.replace(SIGMA, 'σ') : spaced;
  };
}

const definition = z.looseObject({ normalizer: stepSchema.nullish() });

const SIGMA = /Σ/g;
/** The reference's ranges; it starts the fifth at 2b920 where BERT's own code has 2b820. */
const RARE_HAN = /[\u{20000}-\u{2a6df}\u{2a700}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;
/** A sigma, or the first unit of a character from U+20000 to U+2FFFF. */
const SUSPECT = /[Σ\ud840-\ud87f]/;
