import { describe, expect, it } from 'vitest';
import { cpu } from '../../../../src/inference/devices/device.ts';
import { noDivisor } from '../../../../src/inference/onnx/graph-appendix.ts';
import { planLogits } from '../../../../src/inference/onnx/logits-graph.ts';
import { readOutline } from '../../../../src/inference/onnx/onnx-outline.ts';
import { ModelSession } from '../../../../src/inference/process/model-session.ts';
import { finishLogits } from '../../../../src/inference/results/finish-logits.ts';
import type { LogitsSpec } from '../../../../src/inference/wire/session-spec.ts';
import { tinyModel, tinySpec } from '../tiny-model.ts';

describe('the logits of a model', () => {
  it('are its only output when none has their name', () => {
    expect(planLogits(readOutline(tinyModel()), 'token-logits')).toEqual({
      appendix: null,
      output: 'last_hidden_state',
      finished: true,
      divisor: noDivisor,
    });
  });

  it('are refused when there are several outputs, or of another shape', () => {
    expect(() => planLogits(readOutline(tinyModel({ finished: true })), 'sequence-logits')).toThrow(
      /\(last_hidden_state, sentence_embedding\) holds the logits of each text/,
    );
    expect(() => planLogits(readOutline(tinyModel()), 'sequence-logits')).toThrow(/logits of each text/);
  });

  it('come as float32 from a file in float16, without the padding', async () => {
    const { key, model, variant, onnxPath, expectedSha256, padTokenId } = tinySpec({ half: true });
    const file = { key, model, variant, onnxPath, expectedSha256, padTokenId };
    const spec: LogitsSpec = { ...file, output: 'token-logits', labels: 3 };
    const session = await ModelSession.load(spec, { device: cpu, threads: 1, spinning: false });
    const batch = { lengths: Int32Array.of(1, 2), ids: Int32Array.of(3, 1, 2), secondFrom: null };
    expect(await session.run(batch, false)).toEqual({
      values: Float32Array.of(0, 0, -5, 0, 2, 0, 3, 4, 0),
      notFinite: [],
    });
  });
});

describe('finishLogits', () => {
  it('names the rows that are not finite, and does not look at padding', () => {
    const { NaN: nan } = Number;
    const output = Float32Array.of(1, 2, nan, nan, 3, 4, nan, 5);
    expect(finishLogits(output, Int32Array.of(1, 2), 2, true)).toEqual({
      values: Float32Array.of(1, 2, 3, 4, nan, 5),
      notFinite: [1],
    });
    expect(finishLogits(Float32Array.of(1, nan, 3, 4), Int32Array.of(5, 1), 5, false).notFinite).toEqual([0]);
  });
});
