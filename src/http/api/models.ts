import { statSync } from 'node:fs';
import { UserError } from '../../errors.ts';
import type { TextEmbedder } from '../../inference/text-embedder.ts';
import type { ModelListing, ServedModel } from '../../model-files/description.ts';
import { type ModelChoice, parseChoice } from '../../models/choice.ts';
import { didYouMean } from '../../nearest.ts';
import { modelSetting, type ServedModelOf, type TaskName } from '../../tasks/tasks.ts';
import { HttpError } from './http-error.ts';

/** A model that requests may have. */
export interface ChoosableModel extends Pick<ModelListing, 'name' | 'task' | 'variants'> {
  /** Its folder on this machine; null for one that an endpoint runs. */
  readonly directory: string | null;
}

/** Which models requests may have. */
export interface ModelChoices {
  /** The one for a task where a request names none; null where none is set. */
  defaultFor(task: TaskName): ModelChoice | null;
  /** Those that are here. */
  list(): readonly ChoosableModel[];
}

/** What was found is kept for so long: looking reads several files, and a model may be pulled meanwhile. */
const KEPT_MS = 2_000;
/** Most names that are kept. */
const KEPT = 256;

/** A model as `/v1/models` lists it. */
export interface ListedModel extends ChoosableModel {
  /** When its folder was changed last, in seconds since 1970; 0 where it has none. */
  readonly created: number;
}

/** The models that requests name, and what is refused of them. */
export class RequestedModels {
  readonly #source: () => TextEmbedder | undefined;
  readonly #choices: ModelChoices;
  readonly #kept = new Map<string, { until: number; found: ServedModel }>();
  #listed: { until: number; models: ListedModel[] } | undefined;

  /** @param source undefined while there are none yet */
  constructor(source: () => TextEmbedder | undefined, choices: ModelChoices) {
    this.#source = source;
    this.#choices = choices;
  }

  /** @throws HttpError 503 while there is none */
  get embedder(): TextEmbedder {
    const embedder = this.#source();
    if (!embedder)
      throw new HttpError(503, 'The server is starting: try again in a moment', { retryAfter: 1 });
    return embedder;
  }

  /**
   * The model of this name, or the one for the task where none is named.
   * @throws HttpError 404 where there is none, 422 where it is for another task, 503 where it cannot be used
   */
  find<Task extends TaskName>(name: string | null | undefined, task: Task): ServedModelOf<Task> {
    const choice = this.#choose(name, task);
    const key = JSON.stringify([choice.name, choice.variant, task]);
    const now = performance.now();
    const kept = this.#kept.get(key);
    if (kept && kept.until > now) return kept.found as ServedModelOf<Task>;
    const found = this.#look(choice, task);
    if (this.#kept.size >= KEPT) this.#kept.clear();
    this.#kept.set(key, { until: now + KEPT_MS, found });
    return found;
  }

  /** Every model that is here. */
  list(): ListedModel[] {
    const now = performance.now();
    if (!this.#listed || this.#listed.until <= now) {
      const models = this.#choices.list().map((model) => ({ ...model, created: changedAt(model.directory) }));
      this.#listed = { until: now + KEPT_MS, models };
    }
    return this.#listed.models;
  }

  #choose(name: string | null | undefined, task: TaskName): ModelChoice {
    if (name) return parseChoice(name);
    const choice = this.#choices.defaultFor(task);
    if (choice) return choice;
    throw new HttpError(
      404,
      `No model is named, and none is set for ${task}: name one, or set ${modelSetting(task)}`,
      { param: 'model', code: 'model_not_found' },
    );
  }

  #look<Task extends TaskName>({ name, variant }: ModelChoice, task: Task): ServedModelOf<Task> {
    const { embedder } = this;
    let own: ServedModel;
    try {
      own = embedder.find(name, undefined, { variant });
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      // Its message names folders of this machine. It is for the log.
      if (!this.list().some((model) => model.name === name || model.directory?.endsWith(`/${name}`))) {
        const names = this.list().map((model) => model.name);
        throw modelNotFound(name, names, error);
      }
      throw new HttpError(503, `The model '${name}' cannot be used: the server's log says why`, {
        param: 'model',
        cause: error,
      });
    }
    try {
      return embedder.find(name, task, { variant });
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      throw new HttpError(422, `The model '${name}' is for ${own.task}, not for ${task}`, {
        param: 'model',
        code: 'wrong_model',
      });
    }
  }
}

/** @param names of the models that there are */
export function modelNotFound(name: string, names: readonly string[], cause?: unknown): HttpError {
  const shown = name.length > 200 ? `${name.slice(0, 200)}...` : name;
  const meant = didYouMean(name, names);
  return new HttpError(
    404,
    `There is no model '${shown}'. ${meant}GET /v1/models lists those that there are`,
    {
      param: 'model',
      code: 'model_not_found',
      cause,
    },
  );
}

function changedAt(directory: string | null): number {
  if (directory === null) return 0;
  return Math.floor((statSync(directory, { throwIfNoEntry: false })?.mtimeMs ?? 0) / 1_000);
}
