import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.ts';
import { ACTIVATIONS, type Prompts, type VectorStep } from './description.ts';
import { readJson } from './model-folder.ts';

const modulesSchema = z.array(z.looseObject({ type: z.string(), path: z.string().optional() }));

const configSchema = z.looseObject({
  prompts: z.record(z.string(), z.string()).nullish(),
  default_prompt_name: z.string().nullish(),
});

/** The modules of a model that pgembedder has. Dropout does nothing outside of training. */
const KNOWN_MODULES = ['Transformer', 'Pooling', 'Dense', 'LayerNorm', 'Normalize', 'Dropout'];
/** Those of a model whose vectors are sparse: just these two. The newest versions call the first one Transformer. */
const SPARSE_MODULES = [
  ['MLMTransformer', 'SpladePooling'],
  ['Transformer', 'SpladePooling'],
];

/** The names that the prompt for passages may have, in the order of sentence-transformers' encode_document. */
const PASSAGE_PROMPTS = ['document', 'passage', 'corpus'];

/** A module of a model: its class, and its folder within the model's. */
export interface Module {
  readonly name: string;
  readonly path: string;
}

/**
 * The modules that make a vector, as sentence-transformers' `modules.json` lists them: `Transformer`, `Pooling`,
 * `Normalize`; null without that file. The names are those of the classes, without their modules.
 * @param shown what errors call the file
 * @throws UserError for a module that pgembedder does not have
 */
export function readModules(path: string, shown = path): Module[] | null {
  const listed = readJson(path, modulesSchema);
  if (!listed) return null;
  const modules = listed.map(({ type, path: folder = '' }) => ({
    name: type.slice(type.lastIndexOf('.') + 1),
    path: folder,
  }));
  const names = modules.map(({ name }) => name);
  if (SPARSE_MODULES.some((known) => String(known) === String(names))) return modules;
  const unknown = names.find(
    (name) => !KNOWN_MODULES.includes(name) && !SPARSE_MODULES.flat().includes(name),
  );
  if (unknown !== undefined) {
    throw new UserError(`${shown} asks for the module ${unknown}, which pgembedder does not have`, {
      hint: `Choose a model of the modules ${KNOWN_MODULES.slice(0, -1).join(', ')}, or of ${SPARSE_MODULES[0]!.join(' and ')}`,
    });
  }
  if (SPARSE_MODULES.flat().some((name) => name !== 'Transformer' && names.includes(name))) {
    throw new UserError(
      `${shown} has the modules ${names.join(', ')}, which pgembedder cannot put together`,
      {
        hint: `A model with sparse vectors has ${SPARSE_MODULES[0]!.join(' and ')}, and nothing else`,
      },
    );
  }
  return modules;
}

/** What is done behind the pooling. */
export interface AfterPooling {
  readonly steps: readonly VectorStep[];
  /** Whether the last step scales the vector to length 1; it is none of `steps`. */
  readonly normalize: boolean;
  /** Numbers in the vector then; null where no step changes it. */
  readonly dimensions: number | null;
}

/** @throws UserError for a module that pgembedder does not have, or whose files are not there */
export function readAfterPooling(directory: string): AfterPooling {
  const modules = (readModules(join(directory, 'modules.json')) ?? []).filter(
    ({ name }) => name !== 'Dropout',
  );
  const steps = modules.flatMap((module): VectorStep[] => {
    const folder = join(directory, module.path);
    if (module.name === 'Dense') return [denseStep(folder)];
    if (module.name === 'LayerNorm') return [layerNormStep(folder)];
    return module.name === 'Normalize' ? [{ kind: 'normalize' }] : [];
  });
  const normalize = steps.at(-1)?.kind === 'normalize';
  const dense = steps.findLast((step) => step.kind === 'dense');
  return {
    // A scaling that is followed by another one alone makes no difference.
    steps: normalize ? steps.slice(0, -1) : steps,
    normalize,
    dimensions: dense?.output ?? null,
  };
}

const denseSchema = z.looseObject({
  in_features: z.int().positive(),
  out_features: z.int().positive(),
  activation_function: z.string().default('torch.nn.modules.activation.Tanh'),
  module_input_name: z.string().default('sentence_embedding'),
  module_output_name: z.string().default('sentence_embedding'),
});

function denseStep(folder: string): VectorStep {
  const path = join(folder, 'config.json');
  const config = requireJson(path, denseSchema);
  const name = config.activation_function.slice(config.activation_function.lastIndexOf('.') + 1);
  const activation = ACTIVATIONS.find((known) => known === name);
  if (!activation) {
    throw new UserError(`${path} asks for the activation ${name}, which pgembedder does not have`, {
      hint: `Choose a model with one of ${ACTIVATIONS.join(', ')}`,
    });
  }
  const other = [config.module_input_name, config.module_output_name].find(
    (of) => of !== 'sentence_embedding',
  );
  if (other !== undefined) {
    throw new UserError(
      `${path} is for ${other} and not for the vector of a text, which pgembedder does not have`,
      {
        hint: 'Choose a model whose Dense modules come after Pooling',
      },
    );
  }
  const weights = join(folder, 'model.safetensors');
  return { kind: 'dense', path: weights, input: config.in_features, output: config.out_features, activation };
}

const layerNormSchema = z.looseObject({ dimension: z.int().positive() });

function layerNormStep(folder: string): VectorStep {
  const { dimension } = requireJson(join(folder, 'config.json'), layerNormSchema);
  return { kind: 'layer_norm', path: join(folder, 'model.safetensors'), size: dimension };
}

/** @throws UserError when the file is missing, too */
function requireJson<Content>(path: string, schema: z.ZodType<Content>): Content {
  const content = readJson(path, schema);
  if (content !== null) return content;
  throw new UserError(`${path} is missing`, { hint: 'Pull the model again or copy the file there' });
}

/**
 * What is put before texts, from `config_sentence_transformers.json`: the prompt named for the role, else that of
 * `default_prompt_name`, as in sentence-transformers' `encode`; '' without either.
 */
export function readPrompts(directory: string): Prompts {
  const config = readJson(join(directory, 'config_sentence_transformers.json'), configSchema);
  const prompts = new Map(Object.entries(config?.prompts ?? {}));
  const fallback = prompts.get(config?.default_prompt_name ?? '') ?? '';
  const passage = PASSAGE_PROMPTS.map((name) => prompts.get(name)).find((prompt) => prompt !== undefined);
  return { query: prompts.get('query') ?? fallback, passage: passage ?? fallback };
}
