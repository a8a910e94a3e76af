import { EventEmitter } from 'node:events';
import type { Backend } from '../../src/inference/backend/backend.ts';
import type { EngineError } from '../../src/inference/backend/engine-error.ts';
import type { BackendEvents } from '../../src/inference/backend/events.ts';
import type { CallOptions, SequenceResult } from '../../src/inference/backend/run.ts';
import type { BackendSession, SessionOptions } from '../../src/inference/backend/session.ts';
import type { RunnableModel, VectorModel } from '../../src/model-files/description.ts';
import type { TextTokenizer } from '../../src/tasks/text-tokenizer.ts';
import { fakeVector } from './pgembedder.ts';

/** A model elsewhere: there is no folder with its files. */
interface RemoteModel extends VectorModel {
  readonly server: string;
}

/** A text is sent as it is. */
interface SentText {
  readonly text: string;
}

/** What a batch was asked for. */
export interface Sent {
  readonly session: BackendSession;
  readonly texts: string[];
  readonly options: CallOptions;
}

/** A backend as a server elsewhere would be one: it takes texts, a few at a time, and knows no files. */
export class RemoteEngine
  extends EventEmitter<BackendEvents>
  implements Backend<RemoteModel, BackendSession, SentText>
{
  readonly sent: Sent[] = [];
  readonly sessions = [];
  /** Most texts of a request. */
  mostTexts = 4;
  /** What is wrong with a request, if anything. */
  refuse: (texts: readonly string[]) => EngineError | undefined = () => undefined;
  readonly #model: RemoteModel;

  constructor(name = 'remote/words', dimensions = 384) {
    super();
    const prompts = { query: 'query: ', passage: '' };
    this.#model = {
      ...{ name, task: 'feature-extraction', licence: null, maxTokens: 16, dimensions, prompts },
      server: 'elsewhere',
    };
  }

  find(name: string): RemoteModel | undefined {
    return name === this.#model.name ? this.#model : undefined;
  }

  runs(model: RunnableModel): model is RemoteModel {
    return 'server' in model;
  }

  admit(): void {}

  tokenizer({ maxTokens }: RemoteModel): TextTokenizer<SentText> {
    const vectorsOnly = () => {
      throw new Error('it gives vectors only');
    };
    return {
      ...{ maxTokens, specialTokens: 0, encode: (text) => ({ text }), count: words },
      ...{ pairsWith: vectorsOnly, pairsOf: vectorsOnly, withPlaces: vectorsOnly, join: vectorsOnly },
    };
  }

  tokensOf({ text }: SentText): number {
    return words(text);
  }

  identityOf({ text }: SentText): string {
    return text;
  }

  open({ name }: RemoteModel, { normalize = true }: SessionOptions = {}): BackendSession {
    return { key: name, model: name, normalize };
  }

  planOf() {
    return { tokenBudget: 1_000, mostSequences: this.mostTexts };
  }

  async run(
    session: BackendSession,
    sequences: readonly SentText[],
    options: CallOptions = {},
  ): Promise<SequenceResult[]> {
    const texts = sequences.map(({ text }) => text);
    this.sent.push({ session, texts, options });
    const error = this.refuse(texts);
    if (error) throw error;
    const tokens = texts.reduce((sum, text) => sum + words(text), 0);
    this.emit('batch', {
      ...{ session: session.key, model: session.model, priority: options.priority ?? 'normal' },
      ...{ rows: texts.length, tokens, paddedTokens: tokens, waitMs: 0, runMs: 0 },
    });
    return texts.map((text) => fakeVector(text, this.#model.dimensions));
  }

  async stop(): Promise<void> {}
}

function words(text: string): number {
  return text.split(/\s+/).length;
}
