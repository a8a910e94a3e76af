// malformed.mjs URL: 10,000 malformed requests and 500 clients that send a byte a second, beside a caller who asks for vectors.
// Prints what each was answered, and the good caller's times alone and meanwhile. Ends with 1 where a good request failed, or
// a malformed one was taken, or answered with 5xx.
import { connect } from 'node:net';

const [base = 'http://127.0.0.1:8089'] = process.argv.slice(2);
const token = process.env.PGEMBEDDER_HTTP_TOKEN;
const headers = { 'content-type': 'application/json', ...(token && { authorization: `Bearer ${token}` }) };
const BAD = 10_000;
const AT_ONCE = 64;
const SLOW = 500;

const bodies = [
  '',
  '{',
  'null',
  '[]',
  '"',
  '{"input":[]}',
  '{"input":{"a":1}}',
  '{"input":[1,"a"]}',
  '\u0000',
  '{"input":[[]]}',
  '{"input":"a","dimensions":-1}',
  '{"input":"a","model":7}',
  `{"input":${'['.repeat(50_000)}`,
  `"${'a'.repeat(1_000_000)}"`,
];
const routes = [
  '/v1/embeddings',
  '/v1/rerank',
  '/v1/classify',
  '/v1/zero-shot',
  '/v1/tokens',
  '/embed',
  '/rerank',
  '/predict',
  '/tokenize',
];

const post = (path, body) => fetch(base + path, { method: 'POST', headers, body });

/** Asks one after the other until it is told to end. @returns times in ms, and how many failed */
function caller() {
  let on = true;
  const times = [];
  let failed = 0;
  const ended = (async () => {
    while (on) {
      const begin = performance.now();
      const answer = await post('/v1/embeddings', '{"input":"a good request"}').catch(() => null);
      await answer?.arrayBuffer();
      if (answer?.status !== 200) failed++;
      times.push(performance.now() - begin);
    }
  })();
  return {
    async end() {
      on = false;
      await ended;
      return { times: times.sort((a, b) => a - b), failed };
    },
  };
}

const shown = ({ times, failed }) =>
  `${times.length} good requests, ${failed} failed, median ${at(times, 0.5)} ms, p95 ${at(times, 0.95)} ms, longest ${at(times, 1)} ms`;
const at = (times, share) => times[Math.min(times.length - 1, Math.floor(times.length * share))].toFixed(1);

async function malformed() {
  const statuses = {};
  let next = 0;
  const work = async () => {
    for (let i = next++; i < BAD; i = next++) {
      const answer = await post(routes[i % routes.length], bodies[i % bodies.length]);
      await answer.arrayBuffer();
      statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return statuses;
}

/** @returns how many were cut off, and after how long the last one was, in s */
async function slow() {
  const { hostname, port } = new URL(base);
  const begin = performance.now();
  const text = `POST /v1/embeddings HTTP/1.1\r\nHost: ${hostname}\r\nX-Slow: ${'a'.repeat(600)}`;
  const ends = Array.from(
    { length: SLOW },
    () =>
      new Promise((resolve) => {
        const socket = connect(Number(port || 80), hostname);
        let place = 0;
        const drip = setInterval(() => socket.write(text[place++] ?? 'a'), 1_000);
        const end = () => {
          clearInterval(drip);
          resolve((performance.now() - begin) / 1_000);
        };
        socket
          .on('error', () => {})
          .on('close', end)
          .resume();
      }),
  );
  const times = await Promise.all(ends);
  return { cutOff: times.length, lastAfter: Math.max(...times) };
}

const quiet = caller();
await new Promise((resolve) => setTimeout(resolve, 3_000));
const alone = await quiet.end();
console.log('alone:', shown(alone));
const beside = caller();
const statuses = await malformed();
const meanwhile = await beside.end();
console.log(`${BAD} malformed requests:`, JSON.stringify(statuses));
console.log('meanwhile:', shown(meanwhile));
const dripping = caller();
const { cutOff, lastAfter } = await slow();
const besideSlow = await dripping.end();
console.log(`${cutOff} slow clients, cut off after ${lastAfter.toFixed(1)} s at most`);
console.log('meanwhile:', shown(besideSlow));
const wrong = Object.keys(statuses).filter((status) => Number(status) < 400 || Number(status) >= 500);
process.exitCode = alone.failed + meanwhile.failed + besideSlow.failed > 0 || wrong.length > 0 ? 1 : 0;
