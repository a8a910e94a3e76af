// A worker of the simulation, in a process of its own that can be killed: its vectors are made of the texts, so that each can be checked.
import { pino } from 'pino';
import type { TextEmbedder } from '../../src/inference/text-embedder.ts';
import { createModelStore } from '../../src/models/store.ts';
import { createWorker } from '../../src/worker/worker.ts';
import { embed } from './engine.ts';

const { faulty, ...options } = JSON.parse(process.argv[2]!) as {
  connection: string;
  window: number;
  faulty: boolean;
};
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
  embedTexts: (_, texts, { prompt = '', onBatch } = {}) =>
    embed(
      texts.map((text) => prompt + text),
      onBatch,
      faulty ? (kind) => process.stdout.write(`${kind}\n`) : undefined,
    ),
};
const worker = createWorker({
  logger: pino({ level: 'warn' }, pino.destination(2)),
  backoff: { baseSeconds: 1, limitSeconds: 4 },
  embedder,
  ...options,
});
process.once('SIGTERM', () => void worker.stop());
await worker.start();
