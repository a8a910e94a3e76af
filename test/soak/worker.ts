// A worker of the simulation, in a process of its own that can be killed: its vectors are made of the texts, so that each can be checked.
import { pino } from 'pino';
import type { TextEmbedder } from '../../src/inference/text-embedder.ts';
import { createModelStore } from '../../src/models/store.ts';
import { createWorker } from '../../src/worker/worker.ts';
import { vectorOf } from './vector.ts';

const none = () => Promise.reject(new Error('not asked'));
const embedder: TextEmbedder = {
  find: createModelStore({ directories: [] }).find,
  admit: () => {},
  tokenizer: ({ maxTokens }) => ({
    maxTokens,
    encode: () => new Int32Array(2),
    count: (text) => text.split(/\s+/).length,
  }),
  callKey: ({ name }, options) => `${name} ${JSON.stringify(options)}`,
  labelTexts: none,
  rankTexts: none,
  embedSparse: none,
  async embedTexts(_, texts, { prompt = '', onBatch } = {}) {
    const results = texts.map((text) => vectorOf(prompt + text));
    // Long enough for a row to change under it.
    await new Promise((resolve) => setTimeout(resolve, 20 * Math.random()));
    onBatch?.(results.map((result, place) => ({ place, result })));
    return results;
  },
};
const worker = createWorker({
  logger: pino({ level: 'warn' }, pino.destination(2)),
  backoff: { baseSeconds: 1, limitSeconds: 4 },
  embedder,
  ...(JSON.parse(process.argv[2]!) as { connection: string; window: number }),
});
process.once('SIGTERM', () => void worker.stop());
await worker.start();
process.stdout.write('started\n');
