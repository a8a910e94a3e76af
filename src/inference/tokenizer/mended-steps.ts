import type { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { Charsmap } from './charsmap.ts';

/**
 * Where @huggingface/tokenizers 0.2 differs from the reference tokenizer (in Rust) in what a space, a digit or a letter
 * is. JavaScript's \s takes the byte order mark for a space and does not take U+0085 for one, where Unicode has it the other way
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

/**
 * The same in a tokenizer that is made, for ByteLevel, whose pattern is built in; and the normalizer of sentencepiece
 * models is their own (see `Charsmap`). BertPreTokenizer's pattern needs nothing: BERT's normalizer takes these
 * characters out before. @throws Error for a charsmap that is damaged.
 */
export function mendTokenizer({ normalizer, pre_tokenizer: splitter }: HubTokenizer): void {
  for (const step of stepsOf(normalizer)) mendCharsmap(step);
  for (const step of stepsOf(splitter)) mendPattern(step);
}

/** The library's steps are functions with fields. */
function stepsOf(step: unknown): object[] {
  if (typeof step !== 'function') return [];
  const steps = ['normalizers', 'tokenizers'].flatMap((field): unknown => Reflect.get(step, field) ?? []);
  return [step, ...steps.flatMap(stepsOf)];
}

function mendPattern(step: object): void {
  const pattern: unknown = Reflect.get(step, 'pattern');
  if (Object(Reflect.get(step, 'config')).type === 'ByteLevel' && pattern instanceof RegExp) {
    const spaces = pattern.source.replaceAll('\\s', '\\p{White_Space}').replaceAll('\\S', '\\P{White_Space}');
    Reflect.set(step, 'pattern', new RegExp(spaces, pattern.flags));
  }
}

function mendCharsmap(step: object): void {
  const { type, precompiled_charsmap: base64 } = Object(Reflect.get(step, 'config'));
  if (type === 'Precompiled' && typeof base64 === 'string' && base64 !== '') {
    const charsmap = new Charsmap(base64);
    Reflect.set(step, 'normalize', (text: string) => charsmap.normalize(text));
  }
}
