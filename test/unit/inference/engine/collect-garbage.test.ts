import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import { collectGarbage } from '../../../../src/inference/engine/collect-garbage.ts';

/** Something large that nothing refers to. */
function leaveBehind(): WeakRef<object> {
  return new WeakRef({ large: new Float64Array(1_000_000) });
}

it('collects what nothing refers to any more, and sets no flag of V8', async () => {
  const left = leaveBehind();
  await collectGarbage();
  expect(left.deref()).toBeUndefined();
  expect(runInNewContext('typeof gc')).toBe('undefined');
});
