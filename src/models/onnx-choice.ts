import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { UserError } from '../errors.ts';
import { CPU_VARIANTS, type OnnxFile, onnxFilesAmong, type Variant } from '../model-files/variants.ts';
import type { CatalogEntry } from './catalog.ts';
import type { LockedModel } from './lock.ts';

/** The ONNX file that is to be loaded, by its path within the model's folder. */
export interface ChosenOnnx extends OnnxFile {
  /** The sum that it must have by the lock file or else the catalog; null where neither has one. */
  readonly sha256: string | null;
}

/** The ONNX files of a folder, one for each variant, in this order. */
export function onnxFilesIn(directory: string, order: readonly Variant[] = CPU_VARIANTS): OnnxFile[] {
  return onnxFilesAmong(order, (path) => existsSync(join(directory, path)));
}

/**
 * Chooses a model's ONNX file: the variant that is wanted, else the first in the order of preference, else any.
 * @throws UserError when the folder has no such file
 */
export function chooseOnnx(
  name: string,
  directory: string,
  choice: { order: readonly Variant[]; wanted?: Variant | undefined },
  known: { locked?: LockedModel | undefined; entry?: CatalogEntry | undefined },
): ChosenOnnx {
  const { order, wanted } = choice;
  const files = onnxFilesIn(directory, [...new Set([...order, ...CPU_VARIANTS])]);
  const file = wanted === undefined ? files[0] : files.find(({ variant }) => variant === wanted);
  if (!file) throw absent(name, directory, wanted, files);
  return { ...file, sha256: expectedSum(file, known.locked, known.entry) };
}

/** The lock file first: it has what the hub said of the very revision that was pulled. */
function expectedSum(
  { path }: OnnxFile,
  locked: LockedModel | undefined,
  entry: CatalogEntry | undefined,
): string | null {
  if (locked) return locked.files[path]?.sha256 ?? null;
  return entry?.files.find((file) => file.path === path)?.sha256 ?? null;
}

function absent(
  name: string,
  directory: string,
  wanted: Variant | undefined,
  files: readonly OnnxFile[],
): UserError {
  if (wanted === undefined || files.length === 0) {
    return new UserError(
      `Model '${name}' is incomplete: ${join(directory, 'onnx', 'model_quantized.onnx')} is missing, and so are its other variants`,
      { hint: 'Pull the model again or copy its ONNX file there' },
    );
  }
  const there = files.map(({ variant }) => variant).join(', ');
  return new UserError(`Model '${name}' is not here as ${wanted}: ${directory} has ${there}`, {
    hint: `Fetch it: pgembedder models pull ${name} --variant ${wanted}`,
  });
}
