import { z } from 'zod';
import type { LocalModel } from '../model-files/description.ts';
import type { Activation } from '../model-files/labels.ts';
import {
  activationOf,
  hasOneNamelessLogit,
  isSequenceClassifier,
  knowsEntailment,
  labelsOf,
} from '../model-files/labels.ts';
import { topK } from './option-values.ts';
import { ranked, sigmoid, softmax } from './scores.ts';
import { defineTask } from './task.ts';
import type { RankingModel } from './text-ranking.ts';

const name = 'text-classification';

const activations: Record<Activation, (logits: Float32Array) => number[]> = {
  softmax,
  sigmoid: (logits) => Array.from(logits, sigmoid),
  none: (logits) => Array.from(logits),
};

/** The model's own labels for each text. */
export const textClassification = defineTask({
  name,
  input: 'text',
  result: 'labels',
  options: z.strictObject({
    top_k: topK,
    /** True: each label has a score of its own. False: they compete. Default: what the model was trained for. */
    multi_label: z.boolean().optional(),
  }),
  trial: {},
  defaultModel: null,
  advice: 'Choose a model that was trained to classify texts, or name the task it is for',
  stated: {},
  claims: (config) =>
    isSequenceClassifier(config) && !knowsEntailment(config) && !hasOneNamelessLogit(config),
  describe({ directory, config }) {
    const labels = labelsOf(directory, config);
    return { output: 'sequence-logits' as const, labels, activation: activationOf(labels, config) };
  },
  adapts: { 'text-ranking': onlyLabel },
  lacking: {},
  prepare({ labels, activation }, tokenizer, { top_k, multi_label }) {
    // The option overrides what the model says of its logits.
    const wanted = multi_label === undefined ? activation : multi_label ? 'sigmoid' : 'softmax';
    const activate = activations[wanted];
    return (text) => ({
      sequences: [tokenizer.encode(text)],
      finish: ([logits]) => ranked(labels, activate(logits!), top_k),
    });
  },
});

/** A model with one logit may as well be taken to give the score of its only label. */
function onlyLabel(model: LocalModel) {
  const { onlyLabelActivation: activation, ...rest } = model as RankingModel;
  return { ...rest, task: name, activation };
}
