import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.ts';
import type { CatalogEntry } from './catalog.ts';
import type { LocalModel, ModelDescription, ModelOf, ModelTask } from './description.ts';
import { activationOf, contradictionOf, entailmentOf, labelsOf } from './labels.ts';
import { readMaxTokens, readModelConfig, readPadTokenId, readPooling } from './model-folder.ts';
import type { ChosenOnnx } from './onnx-choice.ts';
import { readModules, readPrompts } from './sentence-transformers.ts';

/**
 * The description of the model in a folder, for its task, with the ONNX file that was chosen.
 * @throws UserError when the folder lacks a file, or its `config.json` lacks something that the task needs
 */
export function describeModel(
  directory: string,
  name: string,
  task: ModelTask,
  entry: CatalogEntry | undefined,
  onnx: ChosenOnnx,
): LocalModel {
  const config = readModelConfig(directory);
  const files = () => {
    requireFile(directory, 'tokenizer.json', name);
    return {
      name,
      directory,
      variant: onnx.variant,
      onnxPath: join(directory, onnx.path),
      expectedSha256: onnx.sha256,
      licence: entry?.licence ?? null,
      maxTokens: entry?.max_tokens ?? readMaxTokens(directory, config),
      padTokenId: readPadTokenId(directory, config),
    };
  };
  if (task === 'feature-extraction') {
    const stated = entry?.task === task ? entry : null;
    const own = stated ? null : readPooling(directory);
    const dimensions = stated?.dimensions ?? own?.dimensions ?? config.hidden_size;
    if (!dimensions) {
      throw new UserError(`${join(directory, 'config.json')} does not say how long the vectors are`, {
        hint: 'Add hidden_size to it, or a 1_Pooling/config.json with word_embedding_dimension',
      });
    }
    return {
      ...files(),
      task,
      dimensions,
      pooling: stated?.pooling ?? own?.pooling ?? 'mean',
      normalize:
        stated?.normalize ?? readModules(join(directory, 'modules.json'))?.includes('Normalize') ?? false,
      prompts: stated?.prompts ?? readPrompts(directory),
    };
  }
  const labels = labelsOf(directory, config);
  switch (task) {
    case 'text-classification':
      return { ...files(), task, labels, activation: activationOf(labels, config) };
    case 'zero-shot-classification':
      return {
        ...files(),
        task,
        labels,
        entailment: entailmentOf(labels),
        contradiction: contradictionOf(labels),
      };
    case 'token-classification':
      return { ...files(), task, labels };
  }
}

/** @throws UserError unless the model is for this task, or (see `forTask`) can be used for it */
export function requireTask(name: string, found: ModelTask, wanted: ModelTask): void {
  if (found === wanted || (found === 'feature-extraction' && wanted === 'zero-shot-classification')) {
    return;
  }
  const why =
    wanted === 'zero-shot-classification' && found === 'text-classification'
      ? ': it has no label entailment'
      : '';
  throw new UserError(`Model '${name}' is for ${found}, not for ${wanted}${why}`, { hint: HINTS[wanted] });
}

/** A model for a task that `requireTask` allows: a model that gives vectors also finds the nearest of several labels. */
export function forTask<Task extends ModelTask>(model: LocalModel, task: Task): ModelOf<Task> {
  if (model.task !== 'feature-extraction' || task !== 'zero-shot-classification')
    return model as ModelDescription as ModelOf<Task>;
  const { name, licence, maxTokens } = model;
  const similarity: ModelDescription = {
    name,
    licence,
    maxTokens,
    task: 'zero-shot-classification',
    vectors: model,
  };
  return similarity as ModelOf<Task>;
}

const HINTS: Record<ModelTask, string> = {
  'feature-extraction': 'Choose a model that gives vectors, or name the task it is for',
  'text-classification': 'Choose a model that was trained to classify texts, or name the task it is for',
  'zero-shot-classification':
    'Choose a model that was trained on natural language inference (NLI), or one that gives vectors',
  'token-classification': 'Choose a model that was trained to label tokens, or name the task it is for',
};

function requireFile(directory: string, file: string, name: string): void {
  if (!existsSync(join(directory, file))) {
    throw new UserError(`Model '${name}' is incomplete: ${join(directory, file)} is missing`, {
      hint: 'Pull the model again or copy the file there',
    });
  }
}
