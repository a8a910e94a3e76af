import { describe, expect, it } from 'vitest';
import { sessionSpec } from '../../../../src/inference/engine/session-spec.ts';
import { createModelStore } from '../../../../src/models/store.ts';

const model = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2', 'feature-extraction');

describe('sessionSpec', () => {
  it('takes the model as its authors made it', () => {
    expect(sessionSpec(model)).toMatchObject({ pooling: 'mean', normalize: true, usePooledOutput: true });
  });

  it.each([
    [{ pooling: 'cls' as const }, false],
    [{ normalize: false }, false],
    [{ pooling: 'mean' as const, normalize: true }, true],
  ])('%j: finished vectors of the file may be used: %s', (options, usePooledOutput) => {
    expect(sessionSpec(model, options)).toMatchObject({ ...options, usePooledOutput });
  });

  it('shares one session among specs that differ in the scaling only', () => {
    const plain = { ...model, normalize: false };
    expect(sessionSpec(plain, { normalize: true }).key).toBe(sessionSpec(plain).key);
    expect(sessionSpec(model, { pooling: 'cls' }).key).not.toBe(sessionSpec(model).key);
    // Another file in its place: pulled anew while a worker runs.
    expect(sessionSpec({ ...model, expectedSha256: 'f'.repeat(64) }).key).not.toBe(sessionSpec(model).key);
  });
});
