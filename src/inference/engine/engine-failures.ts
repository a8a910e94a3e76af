import { EngineError } from '../backend/engine-error.ts';
import type { SentError } from '../wire/protocol.ts';
import type { SessionSpec } from '../wire/session-spec.ts';
import type { Call } from './batch-queue.ts';
import type { EngineExit } from './engine-child.ts';

/** An error of its own for each call, so that each has the stack and the life of one error. */
export function rejectAll(calls: readonly Call[], error: () => EngineError): void {
  for (const call of calls) {
    call.reject(error());
  }
}

function howItEnded({ signal, code }: EngineExit): string {
  if (signal) return `was ended by ${signal}`;
  return code === null ? 'could not be started' : `ended with exit code ${code}`;
}

/** The process was killed since a batch did not end in time. */
export function timeout(runTimeoutMs: number): EngineError {
  return new EngineError('timeout', `The engine did not finish a batch within ${runTimeoutMs} ms`, {
    hint: 'Give the machine more time (run timeout) or smaller batches',
  });
}

/** The process ended while it ran a batch of so many rows. */
export function died(exit: EngineExit, rows: number): EngineError {
  return new EngineError('died', `The engine process ${howItEnded(exit)} during a batch of ${rows} rows`, {
    ...(exit.signal === 'SIGKILL' && {
      wantsMemory: true,
      hint: 'If the system ran out of memory, give it more or use fewer threads',
    }),
  });
}

/** The process ended several times in a row before any batch had started. */
export function startFailed(exit: EngineExit, times: number): EngineError {
  const words = exit.lastWords && ` (${exit.lastWords})`;
  return new EngineError(
    'start',
    `The engine process ${howItEnded(exit)}${words} before it could run, ${times} times`,
    {
      hint: 'Look at its messages in the log; pgembedder doctor checks the installation',
    },
  );
}

/** The process ended while it loaded this model. */
export function diedInLoad(exit: EngineExit, { model, onnxPath }: SessionSpec): EngineError {
  return new EngineError(
    'load',
    `Model '${model}': the engine process ${howItEnded(exit)} while it loaded ${onnxPath}`,
    { hint: 'If the system ran out of memory, give it more; else fetch the model again' },
  );
}

/** The process was killed since this model was not loaded in time. */
export function notLoadedIn(loadTimeoutMs: number, { model, onnxPath }: SessionSpec): EngineError {
  return new EngineError('load', `Model '${model}': ${onnxPath} was not loaded within ${loadTimeoutMs} ms`, {
    hint: 'Put the file on a faster disk or choose another model',
  });
}

/** The engine was stopped before the batch was done. */
export function stopped(): EngineError {
  return new EngineError('stopped', 'The engine was stopped');
}

/** An error that the process has sent. */
export function failed({ kind, message, hint }: SentError): EngineError {
  return new EngineError(kind, message, hint === undefined ? {} : { hint });
}
