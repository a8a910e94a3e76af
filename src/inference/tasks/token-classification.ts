import type { TokenClassificationModel } from '../../models/description.ts';
import type { TokenPlace } from '../offsets.ts';
import { codePoints } from '../source-text.ts';
import type { TaskOptions } from '../task-options.ts';
import type { TextTokenizer } from '../tokenizer.ts';
import { entitiesOf } from './entities.ts';
import type { LabelTask } from './label-task.ts';
import { softmax } from './scores.ts';

/**
 * Entities with their places in the text, as transformers' pipeline gives them.
 * Raises UserError when the places of this model's tokens cannot be told.
 */
export function tokenClassification(
  { labels }: TokenClassificationModel,
  tokenizer: TextTokenizer,
  { aggregation_strategy: strategy }: TaskOptions<'token-classification'>,
): LabelTask {
  const encode = tokenizer.withPlaces();
  const join = (tokens: readonly string[]) => tokenizer.join(tokens);
  return (text) => {
    const { ids, places, opening } = encode(text);
    const characters = places.some(({ unknown }) => unknown) ? Array.from(text) : [];
    return {
      sequences: [ids],
      finish: ([logits]) => {
        const tokens = places.map((place, index) => {
          const from = (opening + index) * labels.length;
          return {
            ...wordOf(place, characters),
            scores: softmax(logits!.subarray(from, from + labels.length)),
          };
        });
        return { label: null, score: null, detail: entitiesOf(tokens, { labels, strategy, join }) };
      },
    };
  };
}

/** The word shown for a token, and whether it continues the one before: transformers' rules to the letter. */
function wordOf({ token, start, end, unknown }: TokenPlace, characters: readonly string[]) {
  return unknown
    ? { word: characters.slice(start, end).join(''), start, end, continues: false }
    : { word: token, start, end, continues: codePoints(token) !== end - start };
}
