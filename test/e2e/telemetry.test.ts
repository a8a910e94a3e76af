import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { run } from './cli.ts';

let home: string;
beforeEach(async () => {
  home = await mkdtemp(join(tmpdir(), 'pgembedder-home-'));
});
afterEach(() => rm(home, { recursive: true }));

it('ONNX Runtime reports to nobody', async () => {
  // Where it reports it keeps an identity of the machine and what it has not sent yet below the home folder. It does
  // not where CI is set, so that has to be empty for this test to tell.
  const env = { HOME: home, XDG_CACHE_HOME: '', CI: '', TMPDIR: home, ORT_DISABLE_TELEMETRY: '' };
  const { code } = await run(['embed', 'a cat'], { env });
  expect(code).toBe(0);
  expect(await readdir(home, { recursive: true })).toEqual([]);
});
