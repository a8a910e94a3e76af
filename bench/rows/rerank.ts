import { rmSync } from 'node:fs';
import { pino } from 'pino';
import type { Row } from '../row.ts';
import { createModelStore, Embedder, Engine } from '../support/built.ts';
import { overBareLoop } from '../support/over-bare-loop.ts';
import { glosses } from '../support/texts.ts';
import { makeReranker, RERANKER } from '../support/tiny-reranker.ts';

const QUERY = 'an animal that lives in the sea and breathes air';

/** Pairs of a query and a text, over a bare onnxruntime loop on the same pairs. */
export const rerank: Row = {
  name: 'rerank',
  title: 'a model that ranks against a bare onnxruntime loop',
  async measure({ quick, say }) {
    const folder = makeReranker();
    const model = createModelStore({ directories: [folder] }).find(RERANKER, 'text-ranking');
    const texts = await glosses(quick ? 300 : 3_000);
    const engine = new Engine({ logger: pino({ level: 'error' }) });
    const embedder = new Embedder({ engine });
    const own = async () => {
      const scores = await embedder.rankTexts(model, QUERY, texts);
      if (scores.some((score) => score instanceof Error)) throw new Error('a text has no score');
    };
    try {
      const bare = { ...model, output: 'logits', query: QUERY };
      return await overBareLoop({ model: bare, texts, quick, unit: 'pairs/s', atLeast: 0.95, say, own });
    } finally {
      await engine.stop();
      rmSync(folder, { recursive: true });
    }
  },
};
