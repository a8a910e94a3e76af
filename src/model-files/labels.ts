import { join } from 'node:path';
import { UserError } from '../errors.ts';
import type { ModelConfig } from './model-folder.ts';

/**
 * The labels of a model in the order of its logits: `id2label` of `config.json`, else `label2id`.
 * @throws UserError when neither names every label from 0 on.
 */
export function labelsOf(directory: string, config: ModelConfig): string[] {
  const byId = new Map(
    config.id2label
      ? Object.entries(config.id2label).map(([id, label]) => [Number(id), label])
      : Object.entries(config.label2id ?? {}).map(([label, id]) => [id, label]),
  );
  const labels = Array.from(byId, (_, id) => byId.get(id));
  if (labels.length === 0 || !labels.every((label) => label !== undefined)) {
    throw new UserError(`${join(directory, 'config.json')} does not name the model's labels`, {
      hint: 'Add id2label to it: {"0": "...", "1": "..."}, in the order of the logits',
    });
  }
  return labels;
}

/** Whether a model gives one set of logits for a text, by the name of its class. */
export function isSequenceClassifier({ architectures }: ModelConfig): boolean {
  return architectures?.[0]?.endsWith('ForSequenceClassification') ?? false;
}

/**
 * Whether a model gives one number that nobody has given a name: for a pair of texts, as a rule. A label that has a name, such as
 * `toxic`, is that of a text.
 */
export function hasOneNamelessLogit({ id2label, label2id }: ModelConfig): boolean {
  const labels = id2label ? Object.values(id2label) : Object.keys(label2id ?? {});
  return labels.length === 1 && labels[0] === 'LABEL_0';
}

/** Whether one of a model's labels says that one sentence follows from another. */
export function knowsEntailment({ id2label, label2id }: ModelConfig): boolean {
  return (id2label ? Object.values(id2label) : Object.keys(label2id ?? {})).some(isEntailment);
}

/** 'entailment' in most models, 'entail' in some. */
function isEntailment(label: string): boolean {
  return label.toLowerCase().startsWith('entail');
}

/**
 * How logits become scores: they compete and sum to 1 (softmax), each stands for itself from 0 to 1 (sigmoid), or
 * they are taken as they are (none: the model was trained to give a quantity).
 */
export type Activation = 'softmax' | 'sigmoid' | 'none';

/**
 * How the logits of a model that classifies texts become scores, as transformers' pipeline decides it: by
 * `problem_type`, else sigmoid for a single label and softmax for several.
 */
export function activationOf(labels: readonly string[], config: ModelConfig): Activation {
  if (config.problem_type === 'regression') {
    return 'none';
  }
  return config.problem_type === 'multi_label_classification' || labels.length === 1 ? 'sigmoid' : 'softmax';
}

/** The place of the label that says 'it follows'. A zero-shot model always has one: that is how it is recognised. */
export function entailmentOf(labels: readonly string[]): number {
  return labels.findIndex(isEntailment);
}

/**
 * The place of the label that says 'it is not so'. In a model without a label of that name (one that tells only entailment
 * from the rest) it is the first or, when entailment is the first, the last: the rule of transformers.
 */
export function contradictionOf(labels: readonly string[]): number {
  const named = labels.findIndex((label) => label.toLowerCase().startsWith('contradict'));
  return named >= 0 ? named : entailmentOf(labels) === 0 ? labels.length - 1 : 0;
}
