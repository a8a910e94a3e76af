import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { checkExternalFiles } from './onnx/external-data.ts';
import { readOutline } from './onnx/onnx-outline.ts';

export { loadTokenizer as checkTokenizer } from './tokenizer/tokenizer.ts';

/** Reads the outline of an ONNX file, and looks for the weights that it says lie beside it. @throws Error */
export async function checkOnnxFile(path: string): Promise<void> {
  checkExternalFiles(readOutline(await readFile(path)).externalFiles, dirname(path));
}
