import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { appendixOf, floatConstant, floatOutput, node } from '../../src/inference/onnx/graph-appendix.ts';
import { onnx, readOutline } from '../../src/inference/onnx/onnx-outline.ts';
import { bytesField, varintField } from '../../src/inference/onnx/protobuf.ts';
import { planSparse } from '../../src/inference/onnx/sparse-graph.ts';
import { packageRoot } from '../../src/package-root.ts';

export const SPLADE = 'bench/splade';
/** The vectors of the tokens, within the bundled model's file. */
const TOKENS = '/m/encoder/layer.5/output/LayerNorm/Add_1_output_0';
/** Numbers of a token in the bundled model, and tokens of its vocabulary. */
const WIDTH = 384;
const VOCABULARY = 30_522;
/** So much is taken off each logit that one to two hundred of a text are above 0, as a trained model has it. */
const BELOW = 4.5;

/**
 * A folder with a model that gives sparse vectors, made of the bundled one: its six layers, and a number for each token of the vocabulary
 * that means nothing. And the same file with the largest logits of each text as `output`, for the bare loop.
 */
export function makeSplade(): { folder: string; pooledPath: string; output: string } {
  const folder = mkdtempSync(join(tmpdir(), 'pgembedder-bench-'));
  const directory = join(folder, SPLADE);
  cpSync(join(packageRoot, 'models', 'pgembedder', 'all-MiniLM-L6-v2'), directory, { recursive: true });
  const path = join(directory, 'onnx', 'model_quantized.onnx');
  const bytes = readFileSync(path);
  const logits = appendixOf(
    weights('bench_weights'),
    node('MatMul', [TOKENS, 'bench_weights'], 'bench_products'),
    floatConstant('bench_below', BELOW),
    node('Sub', ['bench_products', 'bench_below'], 'logits'),
    floatOutput('logits', [null, null, VOCABULARY]),
  );
  const model = Buffer.concat([bytes, logits]);
  writeFileSync(path, model);
  const plan = planSparse(readOutline(model), { pooling: 'max', activation: 'relu' });
  const pooledPath = join(folder, 'pooled.onnx');
  writeFileSync(pooledPath, Buffer.concat([model, plan.appendix!]));
  const config = join(directory, 'config.json');
  const before = JSON.parse(readFileSync(config, 'utf8')) as object;
  writeFileSync(
    config,
    JSON.stringify({ ...before, architectures: ['BertForMaskedLM'], vocab_size: VOCABULARY }),
  );
  for (const file of ['modules.json', '1_Pooling'])
    rmSync(join(directory, file), { recursive: true, force: true });
  return { folder, pooledPath, output: plan.output };
}

/** [width, vocabulary], about normal, the same in each run; scaled for logits with a spread of about 1. */
function weights(name: string): Uint8Array {
  const data = new Float32Array(WIDTH * VOCABULARY);
  let state = 1;
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32 - 0.5;
  };
  const scale = SPREAD * Math.sqrt(3);
  for (let place = 0; place < data.length; place++) data[place] = scale * (next() + next() + next() + next());
  return bytesField(
    onnx.graph.initializer,
    varintField(onnx.tensor.dims, WIDTH),
    varintField(onnx.tensor.dims, VOCABULARY),
    varintField(onnx.tensor.dataType, onnx.element.float),
    bytesField(onnx.tensor.name, name),
    bytesField(onnx.tensor.rawData, Buffer.from(data.buffer)),
  );
}

/** Of one weight. The numbers of a token of the bundled model are about 0.4 each. */
const SPREAD = 1 / (0.4 * Math.sqrt(WIDTH));
