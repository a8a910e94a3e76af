import type { TestServer } from '../test/support/server.ts';

/** One measured number, with the bar it has to reach if it has one. */
export interface Figure {
  readonly name: string;
  /** Null: it was not measured, and `note` says why. */
  readonly value: number | null;
  readonly unit: string;
  readonly bar?: { readonly atLeast: number } | { readonly atMost: number };
  /** The single measurements that `value` sums up. */
  readonly runs?: readonly number[];
  readonly note?: string;
}

/** What a row of the benchmark may use. */
export interface Bench {
  readonly server: TestServer;
  /** Small sizes and few runs: shows that the row works, its figures say little. */
  readonly quick: boolean;
  /** Tells the person who waits what goes on. */
  say(line: string): void;
}

/** A row of the table in docs: one thing that is measured, in a few figures. */
export interface Row {
  /** What `--only` takes. */
  readonly name: string;
  readonly title: string;
  measure(bench: Bench): Promise<Figure[]>;
}

/** Whether a figure reaches its bar; undefined when it has none or was not measured. */
export function reached({ value, bar }: Figure): boolean | undefined {
  if (!bar || value === null) return undefined;
  return 'atLeast' in bar ? value >= bar.atLeast : value <= bar.atMost;
}
