import { createContext, Script } from 'node:vm';
import type { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { codeOf } from '../../errors.ts';
import { EngineError } from '../backend/engine-error.ts';

/** Far more than any tokenizer takes for a text: a million characters take about a second. */
const LEAST_MS = 5_000;
const MS_PER_CHARACTER = 0.02;

/** A call in a context with a time limit can only name what it calls. */
const called: { work?: () => unknown } = {};
const context = createContext(called);
const call = new Script('work()');

/**
 * Ends the work of a tokenizer that brings patterns of its own when it takes too long. A pattern such as `(a+)+$` takes twice as long for
 * each further letter, and what runs here would never return: the heartbeat, the other pipelines and the HTTP server share the
 * thread. A call with a limit takes 50 µs more, so tokenizers without patterns have none.
 */
export function limitTime(tokenizer: HubTokenizer, definition: unknown): void {
  if (!bringsPatterns(definition)) return;
  limitMethod(tokenizer, 'encode');
  limitMethod(tokenizer, 'decode');
  if (tokenizer.decoder) limitMethod(tokenizer.decoder, 'decode');
}

/** Puts a method before that of an object's class, with a limit by the length of its first parameter. */
function limitMethod(of: object, name: string): void {
  const unlimited: object = Object.getPrototypeOf(of);
  const limited = (...given: [{ readonly length: number }]) =>
    inTime(given[0].length, () => Reflect.get(unlimited, name).apply(of, given));
  Object.assign(of, { [name]: limited });
}

/** @throws EngineError (`load`: it concerns the model) when it takes too long */
function inTime<Result>(characters: number, work: () => Result): Result {
  const timeout = Math.ceil(LEAST_MS + characters * MS_PER_CHARACTER);
  called.work = work;
  try {
    return call.runInContext(context, { timeout }) as Result;
  } catch (error) {
    if (codeOf(error) !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw error;
    throw new EngineError(
      'load',
      `tokenizer.json has patterns that take more than ${timeout} ms for a text`,
      {
        hint: 'Choose another model, or put the original tokenizer.json of the model there',
      },
    );
  } finally {
    delete called.work;
  }
}

/** Whether there is a regular expression among the steps of a `tokenizer.json`. */
function bringsPatterns(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  const { normalizer, pre_tokenizer: splitter, decoder } = value as Record<string, unknown>;
  return [normalizer, splitter, decoder].some(hasPattern);
}

function hasPattern(step: unknown): boolean {
  if (typeof step !== 'object' || step === null) return false;
  return 'Regex' in step || Object.values(step).some(hasPattern);
}
