import type { IncomingHttpHeaders } from 'node:http';
import { Passing } from '../failures.ts';

/** What is asked of a server. */
export interface Question {
  /** The model's name there. */
  readonly model: string;
  readonly texts: readonly string[];
  /** Whether the vectors are to be scaled to length 1, where the server lets one say so. */
  readonly normalize: boolean;
  /** How the vectors are to be written, where the server lets one say so. */
  readonly encoding: 'base64' | 'float';
}

/** What a server has answered. */
export interface Vectors {
  /** One for each text, in their order: numbers, or base64 of little-endian float32. Nobody has looked at them yet. */
  readonly vectors: readonly unknown[];
  /** Tokens that it has counted; null where it does not say. */
  readonly tokens: number | null;
}

/** What a kind of server speaks. */
export interface EndpointApi {
  /** Put behind the endpoint's address. */
  readonly path: string;
  body(question: Question): object;
  /** @throws Passing for an answer of another shape, or of another number of vectors */
  read(answer: unknown, headers: IncomingHttpHeaders, texts: number): Vectors;
}

/** @throws Passing unless it is a list of so many */
export function listOf(value: unknown, length: number): unknown[] {
  if (!Array.isArray(value)) throw new Passing('its answer holds no list of vectors');
  if (value.length !== length) {
    throw new Passing(`its answer has ${value.length} vectors for ${length} texts`);
  }
  return value;
}

/** A number of tokens; null for anything else. */
export function countOf(value: unknown): number | null {
  const count = typeof value === 'string' ? Number(value) : value;
  return typeof count === 'number' && Number.isSafeInteger(count) && count >= 0 ? count : null;
}
