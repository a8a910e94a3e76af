import { z } from 'zod';

/**
 * Two places where @huggingface/tokenizers 0.2 differs from the reference tokenizer (in Rust) for BERT's normalizer,
 * mended in the text before it is handed over. Checked against the reference for each code point below U+30000; what
 * is left are marks and symbols that came to Unicode after the reference's tables were made.
 *
 * - CJK characters beyond the basic plane are words of their own; the library looks at UTF-16 units and misses them.
 * - A capital sigma becomes a small one; JavaScript's toLowerCase gives the final form at the end of a word.
 *
 * @returns the function to put a text through, for the tokenizer of this `tokenizer.json`
 */
export function menderFor(tokenizerJson: unknown): (text: string) => string {
  const normalizer = bertNormalizer.safeParse(tokenizerJson).data?.normalizer;
  if (!normalizer) {
    return (text) => text;
  }
  const { handle_chinese_chars: han, lowercase } = normalizer;
  return (text) => {
    // Nearly no text holds either; this is the one look that most of them get.
    if (!suspect.test(text)) {
      return text;
    }
    const spaced = han ? text.replace(rareHan, ' $& ') : text;
    return lowercase ? spaced.replace(sigma, 'σ') : spaced;
  };
}

const bertNormalizer = z.looseObject({
  normalizer: z.looseObject({
    type: z.literal('BertNormalizer'),
    handle_chinese_chars: z.boolean().default(false),
    lowercase: z.boolean().default(false),
  }),
});

const sigma = /Σ/g;
/** The reference's ranges; it starts the fifth at 2b920 where BERT's own code has 2b820. */
const rareHan = /[\u{20000}-\u{2a6df}\u{2a700}-\u{2b81f}\u{2b920}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu;
/** A sigma, or the first unit of a character from U+20000 to U+2FFFF. */
const suspect = /[Σ\ud840-\ud87f]/;
