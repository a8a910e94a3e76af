import type { ZeroShotModel } from '../../models/description.ts';
import type { TextTokenizer } from '../backend/text-tokenizer.ts';
import type { LabelTask } from './label-task.ts';
import { ranked, softmax } from './scores.ts';
import type { TaskOptions } from './task-options.ts';

/**
 * Labels of the user's own: each is put into a sentence, and the model says how far that sentence follows from the
 * text. So a text is as many sequences as there are labels.
 *
 * The scores are those of transformers' pipeline. With `multi_label`, and for a single label, entailment stands against
 * contradiction for each label by itself; else the labels' entailments compete and sum to 1.
 * @throws UserError when a label's sentence is longer than the model's limit.
 */
export function zeroShot(
  { entailment, contradiction }: ZeroShotModel,
  tokenizer: TextTokenizer,
  options: TaskOptions<'zero-shot-classification'>,
): LabelTask {
  const { labels, hypothesis_template: template, top_k } = options;
  // Not replaceAll with a string: '$&' in a label would mean something.
  const pairs = tokenizer.pairsWith(labels.map((label) => template.replaceAll('{}', () => label)));
  const each = options.multi_label || labels.length === 1;
  return (text) => ({
    sequences: pairs(text),
    finish: (results) =>
      ranked(
        labels,
        each
          ? results.map((logits) => softmax([logits[contradiction]!, logits[entailment]!])[1]!)
          : softmax(results.map((logits) => logits[entailment]!)),
        top_k,
      ),
  });
}
