// The bare loop: what is left when there is neither a database nor a second process. It tokenizes all texts, sorts
// them by length, cuts batches under a token budget, and runs them one after the other, fetching only the pooled
// output. Written out here and not taken from src/, so that it does not share what may be slow there; the session's
// options are those of src/inference/process/model-session.ts.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer } from '@huggingface/tokenizers';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { serve } from './serve.mjs';

// With a query, each text is the second of a pair.
const { directory, onnxPath, threads, maxTokens, query, output: wanted } = JSON.parse(process.argv[2]);
const json = (file) => JSON.parse(readFileSync(join(directory, file), 'utf8'));
const tokenizer = new Tokenizer(
  { ...json('tokenizer.json'), truncation: null, padding: null },
  json('tokenizer_config.json'),
);
const session = await InferenceSession.create(onnxPath, {
  executionProviders: ['cpu'],
  intraOpNumThreads: threads,
  interOpNumThreads: 1,
  enableCpuMemArena: true,
  enableMemPattern: false,
  logSeverityLevel: 3,
  extra: {
    session: { intra_op: { allow_spinning: '0' } },
    optimization: { disable_specified_optimizers: 'SkipLayerNormFusion' },
  },
});
const output = wanted ?? session.outputNames[0];

serve(async (texts, { budget }) => {
  const sequences = texts.map((text) => encode(text));
  sequences.sort((a, b) => b.length - a.length);
  for (let from = 0; from < sequences.length; ) {
    const longest = sequences[from].length;
    const to = Math.min(sequences.length, from + Math.max(1, Math.floor(budget / longest)));
    const results = await session.run(feeds(sequences.slice(from, to), longest), [output]);
    if (results[output].dims[0] !== to - from) throw new Error('a row has no vector');
    from = to;
  }
});

function encode(text) {
  const { ids } = query === undefined ? tokenizer.encode(text) : tokenizer.encode(query, { text_pair: text });
  return ids.length <= maxTokens ? ids : [...ids.slice(0, maxTokens - 1), ids.at(-1)];
}

/** Tokens of the first text of a pair, with the special ones around it. */
const ofFirst = query === undefined ? Number.POSITIVE_INFINITY : tokenizer.encode(query).ids.length;

/** int64 by their low words: eight times as fast as BigInts. */
function feeds(sequences, longest) {
  const dims = [sequences.length, longest];
  const tensors = ['input_ids', 'attention_mask', 'token_type_ids'].map((name) => {
    const data = new BigInt64Array(sequences.length * longest);
    const words = new Int32Array(data.buffer);
    const from = name === 'token_type_ids' ? ofFirst : 0;
    sequences.forEach((ids, row) => {
      for (let i = from; i < ids.length; i++)
        words[2 * (row * longest + i)] = name === 'input_ids' ? ids[i] : 1;
    });
    return [name, new Tensor('int64', data, dims)];
  });
  return Object.fromEntries(tensors);
}
