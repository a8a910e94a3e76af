import type { FindOptions, RunnableModel, ServedModel } from '../../model-files/description.ts';
import type { TextTokenizer } from '../../tasks/text-tokenizer.ts';
import type { BackendEvents } from './events.ts';
import type { CallOptions, SequenceResult } from './run.ts';
import type { BackendSession, SessionOptions, SessionState } from './session.ts';

/** How the sequences of a session are cut into batches. */
export interface BatchPlan {
  /** Most tokens of a batch: its sequences times the longest of them, since the others are filled up. */
  readonly tokenBudget: number;
  /** Most sequences of a batch. */
  readonly mostSequences: number;
}

/** What a pipeline asks of a model, as far as a backend may have to refuse it. */
export interface PipelineUse extends SessionOptions {
  readonly pipeline: string;
  /** The strategy by which its texts are cut; undefined where rows are taken whole. */
  readonly chunking?: string | undefined;
}

/**
 * What runs models: the engine of this machine, or a server elsewhere. It finds the models that it has, makes sequences of
 * their texts, says how these are to be cut into batches, and runs the batches.
 *
 * The rooms above know nothing of how it does that. They look at its sessions by `BackendSession`, and never into its
 * sequences: it makes them and gets them back.
 */
export interface Backend<
  Model extends RunnableModel = RunnableModel,
  Session extends BackendSession = BackendSession,
  Sequence extends object = object,
> {
  /**
   * The model of this name, for this task if one is named. Undefined where the name is not one of this backend's.
   * @throws UserError when it is one, and cannot be used
   */
  find(name: string, task: string | undefined, options?: FindOptions): ServedModel | undefined;
  /** Whether a model is one that this backend has found. */
  runs(model: RunnableModel): model is Model;
  /** Whether a pipeline may use a model, and as it wants to. @throws UserError when not */
  admit(model: Model, use: PipelineUse): void;

  /** Counts tokens, and makes sequences. Loaded once for each model. @throws UserError when it cannot be loaded */
  tokenizer(model: Model): TextTokenizer<Sequence>;
  /** Tokens of a sequence, special tokens included. */
  tokensOf(sequence: Sequence): number;
  /** The same for sequences of which the model makes the same, and only for those. */
  identityOf(sequence: Sequence): string;

  /** A session for a model. Opens no file and no connection: the first batch does. */
  open(model: Model, options?: SessionOptions): Session;
  planOf(session: Session): BatchPlan;
  /**
   * Runs a batch.
   * @param sequences at least one token each
   * @returns for each sequence its numbers, or an EngineError of kind `not-finite`. Those of a batch may share one buffer:
   *   copy what is to be kept for long.
   * @throws EngineError of any other kind, when there is nothing for any of the sequences
   */
  run(session: Session, sequences: readonly Sequence[], options?: CallOptions): Promise<SequenceResult[]>;

  /** Every session that was ever asked for. */
  readonly sessions: readonly SessionState[];
  on(name: 'batch', listener: (...args: BackendEvents['batch']) => void): unknown;
  on(name: 'started', listener: (...args: BackendEvents['started']) => void): unknown;
  on(name: 'loaded', listener: (...args: BackendEvents['loaded']) => void): unknown;
  on(name: 'died', listener: (...args: BackendEvents['died']) => void): unknown;
  on(name: 'request', listener: (...args: BackendEvents['request']) => void): unknown;
  on(name: 'counted', listener: (...args: BackendEvents['counted']) => void): unknown;
  on(name: 'wait', listener: (...args: BackendEvents['wait']) => void): unknown;
  /** Ends it for good. What waits is rejected with `stopped`; what runs may end within `graceMs`. */
  stop(graceMs?: number): Promise<void>;
}
