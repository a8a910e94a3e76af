import {
  CPU_VARIANTS,
  isExternalDataOf,
  type OnnxFile,
  onnxFilesAmong,
  type Variant,
} from '../../model-files/variants.ts';
import { PullError } from './pull-error.ts';
import type { SourceFile } from './source.ts';

/** The files that a model needs beside its ONNX files, if it has them. It must have the first two. */
const COMPANIONS = [
  'config.json',
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'modules.json',
  'sentence_bert_config.json',
  'config_sentence_transformers.json',
];
/** `1_Pooling/config.json`, `2_Dense/model.safetensors`: one folder for each of sentence-transformers' modules. */
const MODULE_FILE = /^\d+_\w+\/(config\.json|model\.safetensors)$/;

/** What is to be pulled. */
export interface Selection {
  readonly variants: readonly Variant[];
  /** In the best order for pulling: first the small files, which show whether the rest is of use. */
  readonly files: readonly SourceFile[];
}

/**
 * Chooses the files of a model that are needed. Names are only ever compared with those that a model can have, so a
 * name that leads out of the folder is never chosen.
 * @param variants those that are wanted; null for the first of `order` that the source has
 * @throws PullError when the model lacks one, or a file without which it cannot be run
 */
export function selectFiles(
  name: string,
  files: readonly SourceFile[],
  variants: readonly Variant[] | null,
  order: readonly Variant[],
): Selection {
  const paths = new Set(files.map(({ path }) => path));
  const missing = COMPANIONS.slice(0, 2).find((path) => !paths.has(path));
  const there = onnxFilesAmong([...new Set([...order, ...CPU_VARIANTS])], (path) => paths.has(path));
  if (there.length === 0) {
    throw new PullError(`${name} has no ONNX file`, {
      hint: 'Choose a model with an onnx folder, or export this one to ONNX and pull it from a folder',
    });
  }
  if (missing !== undefined) {
    throw new PullError(`${name} has no ${missing}, and cannot be run without`, {
      hint: 'Choose another model, or another revision of this one',
    });
  }
  const chosen = chooseVariants(name, there, variants);
  const wanted = (path: string) =>
    COMPANIONS.includes(path) ||
    MODULE_FILE.test(path) ||
    chosen.some((onnx) => path === onnx.path || isExternalDataOf(onnx.path, path));
  // An ONNX file comes after its weights: so where it is, they are too.
  const rank = (path: string) =>
    Math.max(...chosen.map((onnx) => (path === onnx.path ? 2 : isExternalDataOf(onnx.path, path) ? 1 : 0)));
  return {
    variants: chosen.map(({ variant }) => variant),
    files: [...new Map(files.map((file) => [file.path, file])).values()]
      .filter(({ path }) => wanted(path))
      .sort((a, b) => rank(a.path) - rank(b.path) || (a.path < b.path ? -1 : 1)),
  };
}

function chooseVariants(
  name: string,
  there: readonly OnnxFile[],
  variants: readonly Variant[] | null,
): readonly OnnxFile[] {
  if (variants === null) return there.slice(0, 1);
  const absent = variants.find((variant) => !there.some((file) => file.variant === variant));
  if (absent !== undefined) {
    throw new PullError(`${name} has no variant ${absent}`, {
      hint: `It has ${there.map(({ variant }) => variant).join(', ')}`,
    });
  }
  return there.filter(({ variant }) => variants.includes(variant));
}
