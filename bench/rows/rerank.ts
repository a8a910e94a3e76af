import { rmSync } from 'node:fs';
import { pino } from 'pino';
import type { Row } from '../row.ts';
import { alternate } from '../support/alternate.ts';
import { createModelStore, Embedder, Engine, physicalCores } from '../support/built.ts';
import { Rival } from '../support/rival.ts';
import { median } from '../support/statistics.ts';
import { glosses } from '../support/texts.ts';
import { makeReranker, RERANKER } from '../support/tiny-reranker.ts';

const BUDGETS = [512, 1024, 2048];
const QUERY = 'an animal that lives in the sea and breathes air';

/** Pairs of a query and a text, over a bare onnxruntime loop on the same pairs. */
export const rerank: Row = {
  name: 'rerank',
  title: 'a model that ranks against a bare onnxruntime loop',
  async measure({ quick, say }) {
    const folder = makeReranker();
    const model = createModelStore({ directories: [folder] }).find(RERANKER, 'text-ranking');
    const texts = await glosses(quick ? 300 : 3_000);
    const bare = await Rival.start('bare-loop.mjs', {
      ...model,
      output: 'logits',
      query: QUERY,
      threads: physicalCores(),
    });
    const engine = new Engine({ logger: pino({ level: 'error' }) });
    const embedder = new Embedder({ engine });
    const own = async () => {
      const begin = performance.now();
      const scores = await embedder.rankTexts(model, QUERY, texts);
      if (scores.some((score) => score instanceof Error)) throw new Error('a text has no score');
      return texts.length / ((performance.now() - begin) / 1_000);
    };
    try {
      await own();
      const sample = texts.slice(0, Math.ceil(texts.length / 4));
      const times: number[] = [];
      for (const budget of BUDGETS) times.push(await bare.run(sample, { budget }));
      const budget = BUDGETS[times.indexOf(Math.min(...times))]!;
      const { a, b, ratio, ratios } = await alternate(
        quick ? 1 : 3,
        own,
        async () => texts.length / (await bare.run(texts, { budget })),
      );
      say(`${median(a).toFixed(0)} and ${median(b).toFixed(0)} pairs/s`);
      return [
        { name: 'engine', value: median(a), unit: 'pairs/s', runs: a },
        { name: 'bare loop', value: median(b), unit: 'pairs/s', runs: b },
        { name: 'engine / bare loop', value: ratio, unit: 'x', runs: ratios, bar: { atLeast: 0.95 } },
      ];
    } finally {
      bare.stop();
      await engine.stop();
      rmSync(folder, { recursive: true });
    }
  },
};
