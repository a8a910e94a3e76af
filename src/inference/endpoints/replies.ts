import { EngineError } from '../backend/engine-error.ts';
import type { EndpointModel } from './endpoint-model.ts';
import { Passing, Refused, TooMany } from './failures.ts';
import type { Answer } from './http-client.ts';
import { readRetryAfter } from './retry-after.ts';

/** Characters of a server's own message that are shown. */
const SHOWN = 300;

/**
 * Deals with a status that is not 200: whom does it concern?
 * @param secret what must not be shown, whatever the server says
 * @throws TooMany for 429 and 503; Refused for 400, 413 and 422; EngineError (`load`) for what concerns the model as such;
 *   Passing for the rest
 */
export function requireSuccess(answer: Answer, model: EndpointModel, secret: readonly string[]): void {
  const { status, headers } = answer;
  if (status === 200) return;
  const { endpoint, nameThere } = model;
  const said = messageIn(answer.body, secret);
  const saying = said === '' ? `status ${status}` : `status ${status}, ${said}`;
  const load = (message: string, hint: string) => new EngineError('load', message, { hint });
  if (status === 429 && /insufficient_quota|billing/i.test(answer.body)) {
    throw load(`Endpoint '${endpoint.name}' has no quota left: ${saying}`, 'Look at the account of its key');
  }
  if (status === 429 || status === 503) throw new TooMany(status, readRetryAfter(headers['retry-after']));
  if (status === 400 || status === 413 || status === 422) throw new Refused(saying);
  if (status >= 300 && status < 400) {
    throw load(
      `Endpoint '${endpoint.name}' sends requests on to another address, which is not followed: ${saying}`,
      `Write the right address as url of the endpoint`,
    );
  }
  if (status === 401 || status === 403) {
    throw load(
      `Endpoint '${endpoint.name}' does not let pgembedder in: status ${status}`,
      'Check the key of the endpoint, and what it may be used for',
    );
  }
  if (status === 404) {
    throw load(
      `Endpoint '${endpoint.name}' has no model '${nameThere}', or nothing at its url: ${saying}`,
      'Check url, api and the name of the model',
    );
  }
  if (status === 408 || status >= 500) throw new Passing(`it answers with ${saying}`, { kind: 'died' });
  throw load(`Endpoint '${endpoint.name}' takes no requests: ${saying}`, 'Check url, api and key');
}

/** What a server says of an error, in one line; '' where it says nothing that can be read. */
function messageIn(body: string, secret: readonly string[]): string {
  let answer: unknown;
  try {
    answer = JSON.parse(body);
  } catch {
    return '';
  }
  const { error, message, detail } = Object(answer);
  // FastAPI's list of what does not fit quotes the input beside each message.
  const found = [error?.message, error, message, detail, detail?.[0]?.msg, error?.msg].find(
    (each) => typeof each === 'string' && each !== '',
  );
  if (found === undefined) return '';
  const line = secret.reduce((text, word) => text.replaceAll(word, '***'), found as string);
  return line.replace(/\s+/g, ' ').trim().slice(0, SHOWN);
}
