import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../../../src/package-root.ts';

const script = join(packageRoot, 'test', 'fixtures', 'engines', 'losing.mjs');

function run(kind: string, least: 'fails' | 'runs') {
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, kind, least], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

describe('after a failed run', () => {
  it('the process ends when the GPU does not run the least any more, and says why in one line', () => {
    expect(run('webgpu', 'fails')).toEqual({
      status: 1,
      stdout: '',
      stderr: 'the device webgpu was lost: Failed to download data from buffer\n',
    });
  });

  it('it goes on when the GPU runs: the batch was to blame', () => {
    expect(run('cuda', 'runs')).toEqual({ status: 0, stdout: 'goes on\n', stderr: '' });
  });

  it('it goes on where there is no GPU to lose', () => {
    expect(run('cpu', 'fails')).toEqual({ status: 0, stdout: 'goes on\n', stderr: '' });
  });
});
