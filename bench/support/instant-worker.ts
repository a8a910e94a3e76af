// A worker on the database of DATABASE_URL whose engine answers at once, in a process of its own.
import { pino } from 'pino';
import { createWorker, Embedder } from './built.ts';
import { InstantEngine } from './instant-engine.ts';

const worker = createWorker({
  connection: process.env.DATABASE_URL!,
  logger: pino({ level: 'error' }),
  embedder: new Embedder({ engine: new InstantEngine() }),
});
await worker.start();
process.send!('started');
process.once('SIGTERM', () => worker.stop().then(() => process.exit()));
