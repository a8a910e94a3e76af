import type { Listener } from '../database/listener.ts';
import type { TextEmbedder } from '../inference/text-embedder.ts';
import type { Job } from '../queue/jobs.ts';
import { ClaimLoop } from './claim-loop.ts';
import type { WorkerContext } from './context.ts';
import type { WorkerStats } from './events.ts';
import type { Holdings } from './holdings.ts';
import { Housekeeping } from './housekeeping.ts';
import { IndexBuilder } from './index-builder.ts';
import { Quiet, type QuietIdle } from './quiet.ts';
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
    listener: () => Listener | null;
    quietIdle: QuietIdle | undefined;
  },
): Parts {
  const { holdings, stats, window, take, listener, quietIdle } = options;
  const listening = () => listener() !== null;
  const pipelines = new ServedPipelines(context, embedder);
  const setbacks = new Setbacks(context, pipelines, holdings, stats);
  const writer = new Writer(context, setbacks, holdings, stats);
  const runner = new WindowRunner(context, pipelines, embedder, writer, setbacks);
  const heartbeat = new Heartbeat(context, holdings, listening);
  const housekeeping = new Housekeeping(context, pipelines, new IndexBuilder(context));
  const quiet = new Quiet(context, heartbeat, listener, quietIdle);
  const loop = new ClaimLoop(context, pipelines, holdings, housekeeping, quiet, {
    window,
    take: (jobs, ms) => take(runner, jobs, ms),
    listening,
  });
  const able = () => !pipelines.outdated;
  const requests = new Requests(context, embedder, listening, able, () => quiet.isQuiet);
  return { context, pipelines, setbacks, writer, heartbeat, housekeeping, loop, requests };
}
