import { appendFileSync, cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { appendixOf, floatOutput, reduceMax, unsqueeze } from '../../src/inference/onnx/graph-appendix.ts';
import { packageRoot } from '../../src/package-root.ts';

export const RERANKER = 'bench/reranker';
/** Of the bundled model's file. */
const OPSET = 14;

/**
 * A folder with a model that ranks, made of the bundled one: as many layers of the same width as ms-marco-MiniLM-L6-v2, which cannot be
 * fetched everywhere. It takes pairs and gives a number that means nothing.
 */
export function makeReranker(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pgembedder-bench-'));
  const directory = join(folder, RERANKER);
  cpSync(join(packageRoot, 'models', 'pgembedder', 'all-MiniLM-L6-v2'), directory, { recursive: true });
  appendFileSync(
    join(directory, 'onnx', 'model_quantized.onnx'),
    appendixOf(
      ...reduceMax('sentence_embedding', 'bench_largest', 1, OPSET),
      ...unsqueeze('bench_largest', 'logits', 1, OPSET),
      floatOutput('logits', [null, 1]),
    ),
  );
  const config = join(directory, 'config.json');
  const before = JSON.parse(readFileSync(config, 'utf8')) as object;
  const ranking = { architectures: ['BertForSequenceClassification'], id2label: { 0: 'LABEL_0' } };
  writeFileSync(config, JSON.stringify({ ...before, ...ranking }));
  return folder;
}
