import type { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';

/**
 * Where @huggingface/tokenizers 0.2 differs from the reference tokenizer (in Rust) in what a space, a digit or a letter
 * is. JavaScript's \s takes the byte order mark for a space and U+0085 for none, where Unicode has it the other way
 * round, and its \d and \w know only ASCII. The library gets it right for patterns that a `tokenizer.json` brings
 * along, so steps with a pattern of their own are told as such.
 */
const mends: Readonly<Record<string, (step: Step) => Step>> = {
  Sequence: (step) => ({
    ...step,
    ...(step.normalizers && { normalizers: step.normalizers.map(mended) }),
    ...(step.pretokenizers && { pretokenizers: step.pretokenizers.map(mended) }),
  }),
  WhitespaceSplit: () => split('\\s+', 'Removed'),
  Whitespace: () => split('\\w+|[^\\w\\s]+', 'Removed', true),
  Digits: ({ individual_digits: each }) => split(each ? '\\p{N}' : '\\p{N}+', 'Isolated'),
  Strip: ({ strip_left: left, strip_right: right }) => ({
    type: 'Sequence',
    normalizers: [...(left ? [remove('\\A\\s+')] : []), ...(right ? [remove('\\s+\\z')] : [])],
  }),
};

/** A normalizer or pre-tokenizer. */
interface Step {
  readonly type: string;
  readonly normalizers?: readonly Step[];
  readonly pretokenizers?: readonly Step[];
  readonly [field: string]: unknown;
}

function split(pattern: string, behavior: string, invert = false): Step {
  return { type: 'Split', pattern: { Regex: pattern }, behavior, invert };
}

function remove(pattern: string): Step {
  return { type: 'Replace', pattern: { Regex: pattern }, content: '' };
}

function mended(step: Step): Step {
  return mends[step.type]?.(step) ?? step;
}

/** The content of a `tokenizer.json` with its steps as above, for the library. */
export function mendedDefinition(definition: Record<string, unknown>): Record<string, unknown> {
  const { normalizer, pre_tokenizer: splitter } = definition;
  return {
    ...definition,
    ...(isStep(normalizer) && { normalizer: mended(normalizer) }),
    ...(isStep(splitter) && { pre_tokenizer: mended(splitter) }),
  };
}

function isStep(value: unknown): value is Step {
  return typeof value === 'object' && value !== null && 'type' in value;
}

/** The same for the steps that have a pattern built in (ByteLevel, BertPreTokenizer), in a tokenizer that is made. */
export function mendPatterns({ pre_tokenizer: splitter }: HubTokenizer): void {
  if (splitter) mendPattern(splitter);
}

/** The library's steps are functions with fields. */
function mendPattern(step: object): void {
  if ('tokenizers' in step && Array.isArray(step.tokenizers)) step.tokenizers.forEach(mendPattern);
  if ('pattern' in step && step.pattern instanceof RegExp && step.pattern.unicode) {
    const { source, flags } = step.pattern;
    const spaces = source.replaceAll('\\s', '\\p{White_Space}').replaceAll('\\S', '\\P{White_Space}');
    step.pattern = new RegExp(spaces, flags);
  }
}
