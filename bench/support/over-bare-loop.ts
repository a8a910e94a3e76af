import type { Figure } from '../row.ts';
import { alternate } from './alternate.ts';
import { physicalCores } from './built.ts';
import { Rival } from './rival.ts';
import { median } from './statistics.ts';

const BUDGETS = [512, 1024, 2048];

interface Against {
  /** What bare-loop.mjs is given. */
  readonly model: object;
  readonly texts: readonly string[];
  readonly quick: boolean;
  /** The unit of the figures. */
  readonly unit: string;
  readonly atLeast: number;
  say(line: string): void;
  /** Works on all texts by the engine. */
  own(): Promise<unknown>;
}

/** The engine over the bare loop at the best of some token budgets, one after the other and several times. */
export async function overBareLoop(against: Against): Promise<Figure[]> {
  const { model, texts, quick, unit, atLeast, say, own } = against;
  const bare = await Rival.start('bare-loop.mjs', { ...model, threads: physicalCores() });
  const rate = (seconds: number) => texts.length / seconds;
  const timed = async () => {
    const begin = performance.now();
    await own();
    return rate((performance.now() - begin) / 1_000);
  };
  try {
    await timed();
    const sample = texts.slice(0, Math.ceil(texts.length / 4));
    const times: number[] = [];
    for (const budget of BUDGETS) times.push(await bare.run(sample, { budget }));
    const budget = BUDGETS[times.indexOf(Math.min(...times))]!;
    const { a, b, ratio, ratios } = await alternate(quick ? 1 : 3, timed, async () =>
      rate(await bare.run(texts, { budget })),
    );
    say(`${median(a).toFixed(0)} and ${median(b).toFixed(0)} ${unit}`);
    return [
      { name: 'engine', value: median(a), unit, runs: a },
      { name: 'bare loop', value: median(b), unit, runs: b },
      { name: 'engine / bare loop', value: ratio, unit: 'x', runs: ratios, bar: { atLeast } },
    ];
  } finally {
    bare.stop();
  }
}
