import { PassThrough } from 'node:stream';
import { stripVTControlCharacters } from 'node:util';
import { expect, it } from 'vitest';
import { PullProgress } from '../../../src/cli/pull-progress.ts';

it('a terminal sees one bar over all files', () => {
  const stream = Object.assign(new PassThrough(), { isTTY: true, columns: 80 });
  const progress = new PullProgress('org/model', stream as unknown as NodeJS.WriteStream);
  const file = (path: string, bytes: number) => ({ path, bytes, sha256: null, gitSha1: null, etag: null });
  progress.plan([file('config.json', 100), file('model.onnx', 900)], 0);
  progress.done('config.json', 100);
  progress.progress('model.onnx', 400);
  progress.progress('model.onnx', 400);
  progress.stop();
  const shown = stripVTControlCharacters(String(stream.read()));
  expect(shown).toContain('  0 %  0 B of 1.0 kB');
  expect(shown).toContain(' 50 %  500 B of 1.0 kB');
  expect(shown).not.toContain('config.json');
});
