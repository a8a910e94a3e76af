import { pino } from 'pino';
import type { BatchReport } from '../../src/inference/backend/events.ts';
import type { Embedder as EmbedderClass } from '../../src/inference/embedder.ts';
import type { ModelDescription } from '../../src/model-files/description.ts';
import type { Bench, Figure, Row } from '../row.ts';
import { alternate } from '../support/alternate.ts';
import { createModelStore, Embedder, Engine, physicalCores } from '../support/built.ts';
import { Rival } from '../support/rival.ts';
import { median } from '../support/statistics.ts';
import { glosses, mails } from '../support/texts.ts';

const BUDGETS = [512, 1024, 2048];
/** Models that do not come with the package; where they are is said by PGEMBEDDER_MODELS_DIR. */
const MODELS = ['all-MiniLM-L6-v2', 'Xenova/bge-small-en-v1.5', 'pgembedder/minilm-spam-detector'];

/**
 * The engine alone, without a database: from texts in memory to vectors or labels in memory, tokenizing included, over
 * a bare onnxruntime loop on the same texts (bench/rivals/bare-loop.mjs), at the best of three token budgets.
 */
export const engine: Row = {
  name: 'engine',
  title: 'the engine alone against a bare onnxruntime loop',
  async measure(bench) {
    const directory = process.env.PGEMBEDDER_MODELS_DIR;
    const store = createModelStore({ directories: directory ? [directory] : [] });
    const size = bench.quick ? 0.1 : 1;
    const kinds = {
      glosses: await glosses(3_000 * size),
      mails: await mails(60 * size),
      mix: [...(await glosses(1_500 * size)), ...(await mails(30 * size))],
    };
    const figures: Figure[] = [];
    for (const name of MODELS) {
      if (!store.list().some((model) => model.name === name)) {
        const note = 'not there: PGEMBEDDER_MODELS_DIR names the folder with it';
        figures.push({
          name: `${name}: engine / bare loop`,
          value: null,
          unit: 'x',
          bar: { atLeast: 0.95 },
          note,
        });
        continue;
      }
      for (const [kind, texts] of Object.entries(kinds))
        figures.push(...(await compare(bench, store.find(name), kind, texts)));
    }
    return figures;
  },
};

async function compare(
  { quick, say }: Bench,
  model: ModelDescription,
  kind: string,
  texts: readonly string[],
): Promise<Figure[]> {
  const bare = await Rival.start('bare-loop.mjs', { ...model, threads: physicalCores() });
  const own = new Engine({ logger: pino({ level: 'error' }) });
  const embedder = new Embedder({ engine: own });
  const seen = { tokens: 0, paddedTokens: 0 };
  own.on('batch', (report: BatchReport) => {
    seen.tokens += report.tokens;
    seen.paddedTokens += report.paddedTokens;
  });
  try {
    const sample = texts.slice(0, Math.ceil(texts.length / 4));
    // Loads the model on both sides, and finds out the budget of the bare loop.
    await runEngine(embedder, model, texts);
    const times: number[] = [];
    for (const budget of BUDGETS) times.push(await bare.run(sample, { budget }));
    const budget = BUDGETS[times.indexOf(Math.min(...times))]!;
    seen.tokens = 0;
    seen.paddedTokens = 0;
    const runs = quick ? 1 : 3;
    const { a, b, ratio, ratios } = await alternate(
      runs,
      async () => texts.length / (await runEngine(embedder, model, texts)),
      async () => texts.length / (await bare.run(texts, { budget })),
    );
    const perRow = seen.tokens / (texts.length * (runs + 1));
    const title = `${model.name}, ${kind}`;
    say(`${title}: ${median(a).toFixed(0)} and ${median(b).toFixed(0)} rows/s`);
    return [
      { name: `${title}: engine`, value: median(a) * perRow, unit: 'tokens/s', runs: a },
      { name: `${title}: bare loop`, value: median(b) * perRow, unit: 'tokens/s', runs: b },
      { name: `${title}: engine / bare loop`, value: ratio, unit: 'x', runs: ratios, bar: { atLeast: 0.95 } },
      { name: `${title}: padding`, value: 1 - seen.tokens / seen.paddedTokens, unit: 'of all tokens' },
    ];
  } finally {
    bare.stop();
    await own.stop();
  }
}

/** Seconds that the engine takes for the texts. */
async function runEngine(
  embedder: EmbedderClass,
  model: ModelDescription,
  texts: readonly string[],
): Promise<number> {
  const begin = performance.now();
  const results =
    'dimensions' in model ? await embedder.embedTexts(model, texts) : await embedder.labelTexts(model, texts);
  const seconds = (performance.now() - begin) / 1_000;
  if (results.some((result) => result instanceof Error)) throw new Error('a text has no result');
  return seconds;
}
