import { z } from 'zod';
import { labelsOf } from '../model-files/labels.ts';
import { AGGREGATION_STRATEGIES, entitiesOf } from './entities.ts';
import { softmax } from './scores.ts';
import { defineTask } from './task.ts';

/** Entities with their places in the text, as transformers' pipeline gives them. */
export const tokenClassification = defineTask({
  name: 'token-classification',
  input: 'text',
  result: 'spans',
  options: z.strictObject({
    /** How tokens become entities; the names and the rules are those of transformers' pipeline. */
    aggregation_strategy: z.enum(AGGREGATION_STRATEGIES).default('simple'),
  }),
  trial: {},
  defaultModel: null,
  advice: 'Choose a model that was trained to label tokens, or name the task it is for',
  stated: {},
  claims: ({ architectures }) => architectures?.[0]?.endsWith('ForTokenClassification') ?? false,
  describe: ({ directory, config }) => ({
    output: 'token-logits' as const,
    labels: labelsOf(directory, config),
  }),
  adapts: {},
  lacking: {},
  prepare({ labels }, tokenizer, { aggregation_strategy: strategy }) {
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
  },
});
