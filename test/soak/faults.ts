import type pg from 'pg';
import type { TestServer } from '../support/server.ts';
import type { Random } from './random.ts';
import type { Workers } from './workers.ts';

/** What a fault can reach. */
export interface Reach {
  readonly random: Random;
  readonly server: TestServer;
  readonly workers: Workers;
  /** A connection of its own. */
  connect(): Promise<pg.Client>;
}

const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Ends connections, as a network or an operator does. */
async function terminate({ connect }: Reach, where: string): Promise<void> {
  const client = await connect();
  await client.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and ${where}`,
  );
  await client.end();
}

/** The kinds of faults, with how often each is made. */
export const faults: Readonly<Record<string, readonly [weight: number, (reach: Reach) => Promise<void>]>> = {
  'kill -9 of a worker': [
    6,
    async ({ random, workers }) => workers.end(random.below(workers.size), 'SIGKILL'),
  ],
  'SIGTERM of a worker': [
    3,
    async ({ random, workers }) => workers.end(random.below(workers.size), 'SIGTERM'),
  ],
  'a worker that is stopped for seconds, and goes on': [
    3,
    async ({ random, workers }) => workers.freeze(random.below(workers.size), 2_000 + random.below(14_000)),
  ],
  'one connection of a worker is ended': [
    5,
    (reach) => terminate(reach, `application_name like 'pgembedder%' and random() < 0.2`),
  ],
  'all connections of workers are ended': [
    2,
    (reach) => terminate(reach, `application_name like 'pgembedder%'`),
  ],
  'all connections of writers are ended': [
    1,
    (reach) => terminate(reach, `application_name = 'soak writer'`),
  ],
  'a statement is cancelled': [
    2,
    async (reach) => {
      const client = await reach.connect();
      await client.query(
        `select pg_cancel_backend(pid) from pg_stat_activity where datname = current_database() and application_name like 'pgembedder%' and state = 'active'`,
      );
      await client.end();
    },
  ],
  'a crash of the server': [0.7, async ({ server }) => server.restart('immediate')],
  'a restart of the server': [0.5, async ({ server }) => server.restart('fast')],
  'a lock on a whole table': [
    2,
    async ({ random, connect }) => {
      const client = await connect();
      await client
        .query(
          `begin; set local lock_timeout = '2s'; lock table ${random.pick(['plain', 'own', 'plain_embedding', 'pair_embedding'])} in access exclusive mode`,
        )
        .catch(() => {});
      await wait(random.below(2_500));
      await client.query('rollback').catch(() => {});
      await client.end();
    },
  ],
};

/** Draws a fault and makes it. @returns its kind */
export async function breakSomething(reach: Reach): Promise<string> {
  const [kind, make] = reach.random.draw(faults);
  // The server may be away, by the fault before.
  await make(reach).catch(() => {});
  return kind;
}
