import type { Pooling } from '../../model-files/description.ts';
import type { Priority } from './priority.ts';

/** What a pipeline may ask for other than what the model's authors chose. */
export interface SessionOptions {
  readonly pooling?: Pooling | undefined;
  readonly normalize?: boolean | undefined;
}

/** A model as it is run. */
export interface BackendSession {
  /** Names what is loaded: sessions with the same key share it. */
  readonly key: string;
  /** The model's name. */
  readonly model: string;
  /** Whether its vectors are scaled to length 1; not there where the output is no vector. */
  readonly normalize?: boolean;
}

/**
 * Sequences may share a batch where this is the same: what is loaded, how its numbers are finished, and how soon they are
 * due. The one place that decides it.
 */
export function batchKey({ key, normalize }: BackendSession, priority: Priority = 'normal'): string {
  return `${key} ${normalize ? 'scaled' : 'raw'} ${priority}`;
}

/** A session as it is at the moment. */
export interface SessionState {
  readonly key: string;
  readonly model: string;
  /** As a setting has it: `cpu`, `cuda:1`. */
  readonly device: string;
  readonly state: 'unloaded' | 'loading' | 'loaded';
  /** Its processes. */
  readonly pids: readonly number[];
  /** Memory of these processes, as they said last. */
  readonly residentBytes: number;
  /** Batches that wait or run. */
  readonly pending: number;
}
