import { z } from 'zod';
import { limits } from '../limits.ts';
import type { LocalModel } from '../model-files/description.ts';
import { givesVectors } from '../model-files/description.ts';
import {
  contradictionOf,
  entailmentOf,
  isSequenceClassifier,
  knowsEntailment,
  labelsOf,
} from '../model-files/labels.ts';
import { storableText, topK } from './option-values.ts';
import { ranked, softmax } from './scores.ts';
import { defineTask } from './task.ts';

const name = 'zero-shot-classification';

const oneLabel = storableText(limits.labelCharacters, 'a label').refine(
  (label) => /[^ \t\n\v\f\r]/.test(label),
  'a label is a text that is not blank',
);

/**
 * Labels of the user's own: each is put into a sentence, and the model says how far that sentence follows from the
 * text. So a text is as many sequences as there are labels.
 *
 * The scores are those of transformers' pipeline. With `multi_label`, and for a single label, entailment stands against
 * contradiction for each label by itself; else the labels' entailments compete and sum to 1.
 *
 * A model that gives vectors finds the nearest of several labels instead: src/inference/labels/similarity.ts.
 */
export const zeroShotClassification = defineTask({
  name,
  input: 'text',
  result: 'labels',
  options: z.strictObject({
    labels: z
      .array(oneLabel, 'labels has to be a list of one or more texts')
      .min(1, 'labels has to be a list of one or more texts')
      .max(limits.labels, `there may be ${limits.labels} of them`)
      .refine((labels) => new Set(labels).size === labels.length, 'a label is there twice'),
    /** The sentence that is tried for each label, which takes the place of {}. */
    hypothesis_template: storableText(limits.templateCharacters)
      .refine((template) => template.includes('{}'), 'it needs {} where the label goes')
      .default('This example is {}.'),
    /** Whether several labels may hold at once: each has a score of its own then, else they sum to 1. */
    multi_label: z.boolean().default(false),
    top_k: topK,
  }),
  trial: { labels: ['animal'] },
  defaultModel: null,
  advice: 'Choose a model that was trained on natural language inference (NLI), or one that gives vectors',
  stated: {},
  // A model that was trained on inference between sentences has a label for it; that is what this asks for.
  claims: (config) => isSequenceClassifier(config) && knowsEntailment(config),
  describe({ directory, config }) {
    const labels = labelsOf(directory, config);
    return {
      output: 'sequence-logits' as const,
      labels,
      /** Places of these two among the labels. */
      entailment: entailmentOf(labels),
      contradiction: contradictionOf(labels),
    };
  },
  adapts: { 'feature-extraction': nearestLabel },
  lacking: { 'text-classification': 'it has no label entailment' },
  prepare({ entailment, contradiction }, tokenizer, options) {
    const { labels, hypothesis_template: template, top_k } = options;
    // Not replaceAll with a string: '$&' in a label would mean something.
    const pairs = tokenizer.pairsWith(labels.map((label) => template.replaceAll('{}', () => label)));
    const each = options.multi_label || labels.length === 1;
    return (text) => ({
      sequences: pairs(text),
      finish: (pairs) =>
        ranked(
          labels,
          each
            ? pairs.map((logits) => softmax([logits[contradiction]!, logits[entailment]!])[1]!)
            : softmax(pairs.map((logits) => logits[entailment]!)),
          top_k,
        ),
    });
  },
});

/** Its options, complete. */
export type ZeroShotOptions = z.infer<typeof zeroShotClassification.options>;

function nearestLabel(model: LocalModel) {
  if (!givesVectors(model)) throw new Error(`${model.name} gives no vectors`);
  const { licence, maxTokens } = model;
  return { name: model.name, licence, maxTokens, task: name, vectors: model };
}
