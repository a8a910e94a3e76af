import { Agent, request } from 'node:http';
import { quantile } from './statistics.ts';

/** What callers saw of a server. */
export interface Load {
  readonly perSecond: number;
  readonly p95: number;
  /** Requests that were not answered with 200. */
  readonly failed: number;
}

/**
 * Callers that each ask, wait for the answer and ask again, for so many seconds, each with a connection that it keeps.
 * @param bodyOf the body of a caller's next request
 */
export async function callers(
  url: string,
  { count, seconds, bodyOf }: { count: number; seconds: number; bodyOf: () => string },
): Promise<Load> {
  const agent = new Agent({ keepAlive: true, maxSockets: count });
  const times: number[] = [];
  let failed = 0;
  const begin = performance.now();
  const end = begin + seconds * 1_000;
  const caller = async () => {
    while (performance.now() < end) {
      const asked = performance.now();
      const status = await post(url, bodyOf(), agent).catch(() => 0);
      if (status === 200) times.push(performance.now() - asked);
      else failed++;
    }
  };
  await Promise.all(Array.from({ length: count }, caller));
  const took = (performance.now() - begin) / 1_000;
  agent.destroy();
  return { perSecond: times.length / took, p95: quantile(times, 0.95), failed };
}

/** Sends a body and reads the whole answer. */
function post(url: string, body: string, agent: Agent): Promise<number> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
    const asked = request(url, { method: 'POST', agent, headers }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode ?? 0));
      response.on('error', reject);
    });
    asked.on('error', reject);
    asked.end(body);
  });
}

/** Resolves when a server answers a request with 200. */
export async function untilAnswered(url: string, body: string): Promise<void> {
  const agent = new Agent();
  const until = performance.now() + 60_000;
  for (;;) {
    if ((await post(url, body, agent).catch(() => 0)) === 200) return;
    if (performance.now() > until) throw new Error(`${url} does not answer`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}
