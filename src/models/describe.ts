import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.ts';
import type { LocalModel, ModelDescription } from '../model-files/description.ts';
import { readMaxTokens, readModelConfig, readPadTokenId } from '../model-files/model-folder.ts';
import { taskNamed } from '../tasks/tasks.ts';
import type { CatalogEntry } from './catalog.ts';
import type { ChosenOnnx } from './onnx-choice.ts';

/**
 * The description of the model in a folder, for the task it is for, with the ONNX file that was chosen.
 * @throws UserError when the folder lacks a file, or its `config.json` something that the task needs
 */
export function describeModel(
  directory: string,
  name: string,
  task: string,
  entry: CatalogEntry | undefined,
  onnx: ChosenOnnx,
): LocalModel {
  const config = readModelConfig(directory);
  const own = taskNamed(task).describe({ directory, config, stated: entry ?? null });
  requireFile(directory, 'tokenizer.json', name);
  return {
    ...own,
    name,
    task,
    directory,
    variant: onnx.variant,
    onnxPath: join(directory, onnx.path),
    expectedSha256: onnx.sha256,
    licence: entry?.licence ?? null,
    maxTokens: entry?.max_tokens ?? readMaxTokens(directory, config),
    padTokenId: readPadTokenId(directory, config),
  };
}

/** @throws UserError unless the model is for this task, or (see `forTask`) can be taken for it */
export function requireTask(name: string, found: string, wanted: string): void {
  const { adapts, lacking, advice } = taskNamed(wanted);
  if (found === wanted || found in adapts) return;
  const why = found in lacking ? `: ${lacking[found]}` : '';
  throw new UserError(`Model '${name}' is for ${found}, not for ${wanted}${why}`, { hint: advice });
}

/** A model for a task that `requireTask` lets it have. */
export function forTask(model: LocalModel, task: string): ModelDescription {
  return taskNamed(task).adapts[model.task]?.(model) ?? model;
}

function requireFile(directory: string, file: string, name: string): void {
  if (!existsSync(join(directory, file))) {
    throw new UserError(`Model '${name}' is incomplete: ${join(directory, file)} is missing`, {
      hint: 'Pull the model again or copy the file there',
    });
  }
}
