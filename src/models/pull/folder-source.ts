import { createReadStream, existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { digestOf } from './digest.ts';
import { PullError } from './pull-error.ts';
import type { ModelSource, Part, Snapshot, SourceFile } from './source.ts';

/** A model in a folder of this machine, laid out as on a hub. */
export class FolderSource implements ModelSource {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async snapshot(): Promise<Snapshot> {
    if (!existsSync(join(this.#folder, 'config.json'))) {
      throw new PullError(`${this.#folder} is no folder of a model: it has no config.json`, {
        hint: 'A model folder holds config.json, tokenizer.json and onnx/model_quantized.onnx, as on a hub',
      });
    }
    const entries = await readdir(this.#folder, { recursive: true, withFileTypes: true });
    const files = entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => relative(this.#folder, join(entry.parentPath, entry.name)).split(sep).join('/'))
      .map((path) => ({ path, bytes: null, sha256: null, gitSha1: null, etag: null }));
    return { commit: null, files };
  }

  async complete(_name: string, _commit: null, file: SourceFile): Promise<SourceFile> {
    const { bytes, sha256 } = await digestOf(join(this.#folder, file.path));
    return { ...file, bytes, sha256 };
  }

  async read(_name: string, _commit: null, file: SourceFile, from: number): Promise<Part> {
    return { from, content: createReadStream(join(this.#folder, file.path), { start: from }) };
  }
}
