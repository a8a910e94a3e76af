import type { TextEmbedder } from '../inference/text-embedder.ts';
import type { Job } from '../queue/jobs.ts';
import { ClaimLoop } from './claim-loop.ts';
import type { WorkerContext } from './context.ts';
import type { WorkerStats } from './events.ts';
import type { Holdings } from './holdings.ts';
import { Housekeeping } from './housekeeping.ts';
import { IndexBuilder } from './index-builder.ts';
import { Heartbeat } from './registration.ts';
import { Requests } from './requests.ts';
import { ServedPipelines } from './served-pipelines.ts';
import { Setbacks } from './setbacks.ts';
import { WindowRunner } from './window.ts';
import { Writer } from './writer.ts';

/** What a connected worker consists of. */
export interface Parts {
  readonly context: WorkerContext;
  readonly pipelines: ServedPipelines;
  readonly setbacks: Setbacks;
  readonly writer: Writer;
  readonly heartbeat: Heartbeat;
  readonly housekeeping: Housekeeping;
  readonly loop: ClaimLoop;
  readonly requests: Requests;
}

/** Makes the parts and joins them; none of them does anything yet. */
export function makeParts(
  context: WorkerContext,
  embedder: TextEmbedder,
  options: {
    holdings: Holdings;
    stats: WorkerStats;
    /** Rows claimed at once. */
    window: number;
    /** Has jobs worked on whose claim took `ms`. */
    take: (runner: WindowRunner, jobs: Job[], ms: number) => void;
    listening: () => boolean;
  },
): Parts {
  const { holdings, stats, window, take, listening } = options;
  const pipelines = new ServedPipelines(context, embedder);
  const setbacks = new Setbacks(context, pipelines, holdings, stats);
  const writer = new Writer(context, setbacks, holdings, stats);
  const runner = new WindowRunner(context, pipelines, embedder, writer, setbacks);
  const heartbeat = new Heartbeat(context, holdings, listening);
  const housekeeping = new Housekeeping(context, pipelines, new IndexBuilder(context));
  const loop = new ClaimLoop(context, pipelines, holdings, housekeeping, {
    window,
    take: (jobs, ms) => take(runner, jobs, ms),
    listening,
  });
  const requests = new Requests(context, embedder, listening, () => !pipelines.outdated);
  return { context, pipelines, setbacks, writer, heartbeat, housekeeping, loop, requests };
}
