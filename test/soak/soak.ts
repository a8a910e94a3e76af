import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/library/migrate.ts';
import { startServer } from '../support/server.ts';
import { violations } from './check.ts';
import { declareAll, declareSomething } from './declarations.ts';
import { breakSomething } from './faults.ts';
import { Random } from './random.ts';
import { tables } from './tables.ts';
import { Workers } from './workers.ts';
import { writeOnce } from './writes.ts';

export interface SoakSettings {
  readonly seed: number;
  readonly minutes: number;
  /** Seconds of chaos before all is let come to rest and looked at. */
  readonly roundSeconds: number;
  readonly say: (line: string) => void;
}

/** What a soak came to. */
export interface SoakReport {
  readonly rounds: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly declarations: Readonly<Record<string, number>>;
  /** Rows written, by the kind of write. */
  readonly rowVersions: Readonly<Record<string, number>>;
  readonly violations: readonly string[];
}

const WRITERS = 8;
const WORKERS = 3;
/** Longer than a lease, and than the longest wait of a row that failed. */
const CALM_SECONDS = 120;

/** Lets writers, declarations, workers and faults loose on a server of its own, again and again, and looks each time whether all is right. */
export async function soak({ seed, minutes, roundSeconds, say }: SoakSettings): Promise<SoakReport> {
  const server = await startServer({ settings: { max_prepared_transactions: '20', max_connections: '60' } });
  const random = new Random(seed);
  const faults: Record<string, number> = {};
  const declarations: Record<string, number> = {};
  const rowVersions: Record<string, number> = {};
  const found: string[] = [];
  const add = (to: Record<string, number>, kind: string, count = 1) => {
    to[kind] = (to[kind] ?? 0) + count;
  };
  const connect = async (name: string) => {
    for (;;) {
      const client = new pg.Client({
        connectionString: server.url,
        application_name: name,
        connectionTimeoutMillis: 5_000,
        query_timeout: 60_000,
        // A prepared transaction whose session was ended holds its locks until the round is over. What waits for them must end
        // at the server, or it is still done while all is looked at.
        lock_timeout: 10_000,
      });
      client.on('error', () => {});
      try {
        await client.connect();
        return client;
      } catch {
        await wait(200);
      }
    }
  };
  const workers = new Workers(server.url, WORKERS, (kind) => add(faults, kind));
  const end = Date.now() + minutes * 60_000;
  let rounds = 0;
  try {
    const database = openDatabase(server.url);
    const first = await connect('soak');
    await first.query('create extension vector');
    await migrate(database);
    await database.destroy();
    for (const { create } of tables) await first.query(create);
    await declareAll(first);
    await first.end();
    do {
      rounds++;
      const before = found.length;
      let on = true;
      /** Does something over and over, with a connection that is opened again when it breaks. */
      const loop = async (
        name: string,
        work: (client: pg.Client, own: Random) => Promise<unknown>,
        pause: () => number,
      ) => {
        const own = new Random(random.below(2 ** 31));
        let client = await connect(name);
        while (on) {
          try {
            await work(client, own);
          } catch (error) {
            const line = `round ${rounds}: ${(error as Error).message}`;
            if (!/Connection terminated|not queryable|Client has encountered|Query read timeout/.test(line)) {
              found.push(line);
              say(line);
            }
          }
          if (
            !(await client.query('select 1').then(
              () => true,
              () => false,
            ))
          ) {
            client.end().catch(() => {});
            client = await connect(name);
          }
          await wait(pause());
        }
        await client.end().catch(() => {});
      };
      workers.start();
      const running = [
        ...Array.from({ length: WRITERS }, () =>
          loop(
            'soak writer',
            (client, own) => writeOnce(client, own, (kind, rows) => add(rowVersions, kind, rows)),
            () => 2,
          ),
        ),
        loop(
          'soak declarations',
          async (client, own) => add(declarations, await declareSomething(client, own)),
          () => 300 + random.below(1_500),
        ),
        loop(
          'soak faults',
          async (_, own) =>
            add(
              faults,
              await breakSomething({ random: own, server, workers, connect: () => connect('soak fault') }),
            ),
          () => 200 + random.below(2_000),
        ),
      ];
      await wait(Math.min(roundSeconds * 1_000, Math.max(10_000, end - Date.now())));
      on = false;
      await Promise.all(running);
      await workers.stop();
      found.push(...workers.lost.splice(0).map((line) => `round ${rounds}: ${line}`));
      const wrong = await rest(await connect('soak'), new Workers(server.url, 1));
      found.push(...wrong.map((line) => `round ${rounds}: ${line}`));
      say(
        `round ${rounds}: ${sum(rowVersions)} row versions, ${sum(faults)} faults, ${found.length} violations`,
      );
      for (const line of found.slice(before)) say(`  ${line}`);
    } while (Date.now() < end - 5_000);
  } finally {
    await workers.stop();
    await server.stop();
  }
  return { rounds, faults, declarations, rowVersions, violations: found };
}

const sum = (counts: Readonly<Record<string, number>>) =>
  Object.values(counts).reduce((all, each) => all + each, 0);

/** One healthy worker does what is left; then all is looked at. */
async function rest(client: pg.Client, workers: Workers): Promise<string[]> {
  const prepared = await client.query<{ gid: string }>('select gid from pg_prepared_xacts');
  for (const { gid } of prepared.rows) await client.query(`rollback prepared '${gid}'`);
  await declareAll(client);
  workers.start();
  try {
    const begun = Date.now();
    for (;;) {
      const { rows } = await client.query<{
        left: number;
      }>(`select (select count(*) from embedder.job) + (select count(*) from embedder.backfill_range)
        + (select count(*) from embedder.backfill_run) + (select count(*) from embedder.pipeline where live and (filled_at is null or uncounted_since is not null))
        + (select count(*) from embedder.tally where recount or missed is not null) as left`);
      if (Number(rows[0]!.left) === 0) break;
      if (Date.now() - begun > CALM_SECONDS * 1_000)
        return [
          `${rows[0]!.left} things are still to be done after ${CALM_SECONDS} s of rest`,
          ...(await violations(client)),
        ];
      await wait(500);
    }
    return await violations(client);
  } finally {
    await workers.stop();
    await client.end();
  }
}
