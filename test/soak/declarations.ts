import type pg from 'pg';
import type { Random } from './random.ts';
import { type Declared, pipelines } from './tables.ts';

const create = ({ create }: Declared) => `select embedder.create_pipeline(${create}, if_not_exists => true)`;

/** The kinds of declarations, with how often each is made. */
const declarations: Readonly<
  Record<string, readonly [weight: number, (of: Declared, random: Random) => string]>
> = {
  alter: [
    6,
    ({ name, changes }, random) =>
      `select embedder.alter_pipeline('${name}', ${random.pick(changes)}, auto_cutover => ${random.chance(0.5)})`,
  ],
  cutover: [3, ({ name }) => `select embedder.cutover('${name}')`],
  'drop the next generation': [1, ({ name }) => `select embedder.drop_next_generation('${name}')`],
  'pause, then resume': [
    2,
    ({ name }) =>
      `select embedder.pause_pipeline('${name}'); select pg_sleep(1); select embedder.resume_pipeline('${name}')`,
  ],
  backfill: [2, ({ name }, random) => `select embedder.backfill('${name}', stale => ${random.chance(0.5)})`],
  'backfill by force': [1, ({ name }) => `select embedder.backfill('${name}', force => true)`],
  retry: [1, ({ name }) => `select embedder.retry_failed('${name}')`],
  'drop and create': [
    1,
    (declared) =>
      `select embedder.drop_pipeline('${declared.name}', drop_target => true); ${create(declared)}`,
  ],
  'drop, keep the target, and create': [
    1,
    (declared) => `select embedder.drop_pipeline('${declared.name}'); ${create(declared)}`,
  ],
  rename: [
    0.5,
    ({ name }) =>
      `select embedder.alter_pipeline('${name}', new_name => '${name}_x'); select embedder.alter_pipeline('${name}_x', new_name => '${name}')`,
  ],
  'detach and attach a partition': [
    1,
    () =>
      `alter table parts detach partition parts_high; update parts_high set body = 'while it was away' where id % 3 = 0; alter table parts attach partition parts_high for values from (100) to (maxvalue)`,
  ],
  'truncate a partition': [0.3, () => 'truncate parts_low'],
  'another type of the input': [
    0.3,
    () => `alter table swaps alter column body type varchar using upper(body)`,
  ],
  'a search': [
    2,
    ({ name }) =>
      `select * from embedder.search('${name}', (select array_fill(0.1::real, array[384])::vector), 5)`,
  ],
  verify: [2, ({ name }) => `select count(*) from embedder.verify('${name}')`],
  status: [2, () => 'select * from embedder.status'],
};

/** Refusals that are right: what was asked for cannot be done at the moment, or the server was away. */
const EXPECTED =
  /^(55000|55006|55P03|42704|42710|42P07|42P01|42703|42883|40P01|40001|57P0.|57014|08...|25P0.|42501|42809|ECONN\w*|EPIPE|UNDEFINED)$/;

/** Draws a declaration and makes it. @throws when it is refused in a way that nobody can be the reason of */
export async function declareSomething(client: pg.Client, random: Random): Promise<string> {
  const [kind, statement] = random.draw(declarations);
  const declared = random.pick(pipelines);
  try {
    for (const one of statement(declared, random).split('; ')) await client.query(one);
  } catch (error) {
    await client.query('rollback').catch(() => {});
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'UNDEFINED';
    if (!EXPECTED.test(code))
      throw new Error(`${kind} of ${declared.name}: ${code} ${(error as Error).message}`, { cause: error });
  }
  return kind;
}

/** Makes every pipeline that is not there, and lets those go on that are paused. */
export async function declareAll(client: pg.Client): Promise<void> {
  // In the middle of being attached again.
  await client
    .query('alter table parts attach partition parts_high for values from (100) to (maxvalue)')
    .catch(() => {});
  for (const declared of pipelines) {
    // In the middle of being renamed.
    await client
      .query(`select embedder.alter_pipeline('${declared.name}_x', new_name => '${declared.name}')`)
      .catch(() => {});
    await client.query(create(declared));
    await client.query(`select embedder.resume_pipeline('${declared.name}')`);
  }
}
