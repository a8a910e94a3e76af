import { z } from 'zod';
import {
  readRankingPrompt,
  readScoreActivation,
  type ScoreActivation,
} from '../model-files/cross-encoder.ts';
import type { LogitsModel, ModelFiles } from '../model-files/description.ts';
import {
  type Activation,
  activationOf,
  hasOneNamelessLogit,
  isSequenceClassifier,
  labelsOf,
} from '../model-files/labels.ts';
import { sigmoid } from './scores.ts';
import { defineTask } from './task.ts';

/** A cross-encoder: it reads two texts as one sequence and gives a number. */
export interface RankingModel extends LogitsModel, ModelFiles {
  /** How its logit becomes the score of a pair. */
  readonly activation: ScoreActivation;
  /** Put before the query; '' for nothing. */
  readonly prompt: string;
  /** The same where it is taken for a model that classifies texts. */
  readonly onlyLabelActivation: Activation;
}

/** How well each text answers a query: the score of the pair, as sentence-transformers' CrossEncoder gives it. */
export const textRanking = defineTask({
  name: 'text-ranking',
  input: 'pair',
  result: 'score',
  options: z.strictObject({
    /** The model's own numbers, without bounds, instead of what it makes scores of them with. */
    raw_scores: z.boolean().optional(),
  }),
  trial: {},
  defaultModel: null,
  advice: 'Choose a cross-encoder: a model that was trained to rank texts, with one label',
  stated: {},
  claims: (config) => isSequenceClassifier(config) && hasOneNamelessLogit(config),
  describe({ directory, config }) {
    const labels = labelsOf(directory, config);
    return {
      output: 'sequence-logits' as const,
      labels,
      activation: readScoreActivation(directory),
      prompt: readRankingPrompt(directory),
      onlyLabelActivation: activationOf(labels, config),
    };
  },
  adapts: {},
  lacking: { 'text-classification': 'it has several labels, and a model that ranks has one' },
  prepare({ activation, prompt }, tokenizer, { raw_scores }) {
    const finish = activation === 'none' || raw_scores ? (logit: number) => logit : sigmoid;
    return (query) => {
      const pairWith = tokenizer.pairsOf(prompt + query);
      return (text) => ({
        sequences: [pairWith(text)],
        finish: ([logits]) => finish(logits![0]!),
      });
    };
  },
});
