// node hold-embedded.mjs DIRECTORY: starts the embedded Postgres, prints a line of JSON about it, and waits for its
// end of input. For the tests that kill it.
import pino from 'pino';
import { startEmbedded } from '../../../dist/embedded/start-embedded.js';

const embedded = await startEmbedded(process.argv[2], { logger: pino({ enabled: false }) });
console.log(JSON.stringify({ url: embedded.url, owner: embedded.owner }));
for await (const _ of process.stdin);
await embedded.stop();
