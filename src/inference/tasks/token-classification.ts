import type { TokenClassificationModel } from '../../models/description.ts';
import type { TextTokenizer } from '../backend/text-tokenizer.ts';
import { entitiesOf } from './entities.ts';
import type { LabelTask } from './label-task.ts';
import { softmax } from './scores.ts';
import type { TaskOptions } from './task-options.ts';

/**
 * Entities with their places in the text, as transformers' pipeline gives them.
 * @throws UserError when the places of this model's tokens cannot be told.
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
    // An unknown token is shown as it stands in the text.
    const characters = places.some(({ unknown }) => unknown) ? Array.from(text) : [];
    return {
      sequences: [ids],
      finish: ([logits]) => {
        const tokens = places.map((place, index) => {
          const from = (opening + index) * labels.length;
          const word = place.unknown ? characters.slice(place.start, place.end).join('') : place.token;
          return { ...place, word, scores: softmax(logits!.subarray(from, from + labels.length)) };
        });
        return { label: null, score: null, detail: entitiesOf(tokens, { labels, strategy, join }) };
      },
    };
  };
}
