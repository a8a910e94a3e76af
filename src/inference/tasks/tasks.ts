import type { LogitsModel } from '../../models/description.ts';
import type { TextTokenizer } from '../backend/text-tokenizer.ts';
import type { LabelTask } from './label-task.ts';
import { checkTaskOptions } from './task-options.ts';
import { textClassification } from './text-classification.ts';
import { tokenClassification } from './token-classification.ts';
import { zeroShot } from './zero-shot.ts';

/** The task of a model with its options. @throws UserError when they do not fit. */
export function labelTask(model: LogitsModel, tokenizer: TextTokenizer, options: object): LabelTask {
  switch (model.task) {
    case 'text-classification':
      return textClassification(model, tokenizer, checkTaskOptions(model.task, options));
    case 'zero-shot-classification':
      return zeroShot(model, tokenizer, checkTaskOptions(model.task, options));
    case 'token-classification':
      return tokenClassification(model, tokenizer, checkTaskOptions(model.task, options));
  }
}
