import type { Action, Shown, ShownDetails } from '../src/http/operate/shown.ts';
import type { AskedSearch, SearchAnswer } from './search-box.ts';

/** The token is kept for this tab alone. */
const KEY = 'pgembedder-token';

/** An answer that is a refusal. */
export class Refusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export function keepToken(token: string): void {
  sessionStorage.setItem(KEY, token);
}

export function readDetails(name: string): Promise<ShownDetails> {
  return ask<ShownDetails>(pathOf(name));
}

/** @returns one sentence about what was done */
export async function act(name: string, action: Action, rowKey?: string): Promise<string> {
  const body = rowKey === undefined ? {} : { row_key: rowKey };
  const { done } = await post<{ done: string }>(`${pathOf(name)}/${action}`, body);
  return done;
}

export function search(name: string, asked: AskedSearch): Promise<SearchAnswer> {
  return post<SearchAnswer>(`/v1/search/${encodeURIComponent(name)}`, asked);
}

/**
 * Tells how everything is, as often as the server says it, until that ends: a header with a token cannot be sent by EventSource.
 * @throws Refusal, and TypeError when the server is away
 */
export async function watch(tell: (shown: Shown) => void): Promise<void> {
  const response = await send('/v1/events');
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split('\n\n');
    rest = events.pop() ?? '';
    for (const event of events) {
      const data = /^data: ?(.*)$/m.exec(event)?.[1];
      if (data) tell(JSON.parse(data) as Shown);
    }
  }
}

function post<Answer>(path: string, body: unknown): Promise<Answer> {
  const headers = { 'content-type': 'application/json' };
  return ask<Answer>(path, { method: 'POST', headers, body: JSON.stringify(body) });
}

async function ask<Answer>(path: string, options: RequestInit = {}): Promise<Answer> {
  return (await send(path, options)).json() as Promise<Answer>;
}

async function send(path: string, options: RequestInit = {}): Promise<Response> {
  const token = sessionStorage.getItem(KEY);
  const response = await fetch(path, {
    ...options,
    headers: { ...options.headers, ...(token && { authorization: `Bearer ${token}` }) },
  });
  if (response.ok) return response;
  const refusal = (await response.json().catch(() => null)) as { error?: { message?: string } } | null;
  throw new Refusal(response.status, refusal?.error?.message ?? `The server answered ${response.status}`);
}

function pathOf(name: string): string {
  return `/v1/pipelines/${encodeURIComponent(name)}`;
}
