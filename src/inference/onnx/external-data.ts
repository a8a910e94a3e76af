import { existsSync, realpathSync, statSync } from 'node:fs';
import { isAbsolute, join, relative } from 'node:path';

/**
 * Checks the files that an ONNX file names for its weights: each has to be an ordinary file in the model's folder, also
 * when links are followed. ONNX Runtime 1.30 refuses others as well; this says which file it is, before anything is
 * loaded.
 * @throws Error
 *
 * @param names as the ONNX file has them: paths relative to its folder
 */
export function checkExternalFiles(names: readonly string[], folder: string): void {
  for (const name of names) {
    const path = join(folder, name);
    if (name === '' || isAbsolute(name) || !isWithin(folder, path)) {
      throw new Error(`it takes its weights from '${name}', which is outside its folder`);
    }
    if (!existsSync(path)) {
      throw new Error(`the file '${name}' with its weights is missing`);
    }
    if (!isWithin(realpathSync(folder), realpathSync(path))) {
      throw new Error(
        `the file '${name}' with its weights is a link out of its folder; put the file itself there`,
      );
    }
    if (!statSync(path).isFile()) {
      throw new Error(`'${name}', which it takes its weights from, is no file`);
    }
  }
}

function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '' && !isAbsolute(way) && way.split(/[\\/]/)[0] !== '..';
}
