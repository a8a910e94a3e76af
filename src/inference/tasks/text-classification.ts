import type { TextClassificationModel } from '../../models/description.ts';
import type { Tokenizer } from '../backend/text-tokenizer.ts';
import type { LabelTask } from './label-task.ts';
import { ranked, sigmoid, softmax } from './scores.ts';
import type { TaskOptions } from './task-options.ts';

/** The model's own labels. `multi_label` overrides what the model says of its logits. */
export function textClassification(
  { labels, activation }: TextClassificationModel,
  tokenizer: Tokenizer,
  { top_k, multi_label }: TaskOptions<'text-classification'>,
): LabelTask {
  const wanted = multi_label === undefined ? activation : multi_label ? 'sigmoid' : 'softmax';
  const activate = {
    softmax,
    sigmoid: (logits: Float32Array) => Array.from(logits, sigmoid),
    none: (logits: Float32Array) => Array.from(logits),
  }[wanted];
  return (text) => ({
    sequences: [tokenizer.encode(text)],
    finish: ([logits]) => ranked(labels, activate(logits!), top_k),
  });
}
