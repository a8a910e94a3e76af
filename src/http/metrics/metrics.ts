import { collectDefaultMetrics, Registry } from 'prom-client';
import type { Database } from '../../database/database.ts';
import { version } from '../../version.ts';
import type { Served } from '../served.ts';
import { collectEngineState } from './engine-state.ts';
import { createInstruments } from './instruments.ts';
import { QueueState } from './queue-state.ts';
import { countEvents } from './worker-metrics.ts';

/** The metrics of one worker. */
export interface Metrics {
  /** What a scrape gets. */
  render(): Promise<{ contentType: string; text: string }>;
  /** Counts a request that was answered. */
  countRequest(route: string, status: number, ms: number): void;
}

/** Counts what a worker does from now on; looks at queue and engine when it is asked. */
export function createMetrics(
  worker: Pick<Served, 'events' | 'sessions'>,
  database: Database | null,
  line?: { readonly waiting: number } | null,
): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const instruments = createInstruments(registry);
  instruments.buildInfo.set({ version, node_version: process.version }, 1);
  countEvents(worker.events, instruments);
  const queue = database && new QueueState(database);
  return {
    async render() {
      collectEngineState(worker, instruments);
      instruments.waitingTokens.set(line?.waiting ?? 0);
      await queue?.collect(instruments);
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
    countRequest(route, status, ms) {
      instruments.requests.inc({ route, status });
      instruments.requestSeconds.observe({ route }, ms / 1_000);
    },
  };
}

/** One line of the table of metrics. */
export interface MetricDescription {
  name: string;
  type: string;
  labels: string[];
  meaning: string;
}

/** Every metric of pgembedder's own, for the docs. */
export function describeMetrics(): MetricDescription[] {
  return Object.values(createInstruments(new Registry())).map((instrument) => {
    // What prom-client keeps of an instrument; its types leave this out.
    const { name, help, labelNames } = instrument as unknown as {
      name: string;
      help: string;
      labelNames: string[];
    };
    return { name, type: instrument.constructor.name.toLowerCase(), labels: [...labelNames], meaning: help };
  });
}
