import type pg from 'pg';
import type { Random } from './random.ts';
import { type Table, tables } from './tables.ts';

/** Keys are few, so that writers meet. */
const KEYS = 200;
const WORDS =
  'sea cat bread loan tax river guitar snow engine priest apple winter lamp judge violin desert'.split(' ');

/** A statement, or a wait in ms. */
type Step = string | number;

/** What a kind of write is made of. */
interface Draw {
  readonly random: Random;
  readonly table: Table;
  /** SQL for a new row: column names and values. */
  row(): string;
  /** SQL that is true for one key, or for several. */
  one(): string;
  some(): string;
  text(): string;
}

const columnsOf = ({ keys }: Table) => [...keys, 'title', 'body', 'open', 'other'].join(', ');
const insert = (draw: Draw, rows = 1) =>
  `insert into ${draw.table.name} (${columnsOf(draw.table)}) values ${Array.from({ length: rows }, () => draw.row()).join(', ')}`;
const update = (draw: Draw) => `update ${draw.table.name} set body = ${draw.text()} where ${draw.one()}`;
const remove = (draw: Draw) => `delete from ${draw.table.name} where ${draw.one()}`;

/** The kinds of writes, with how often each is made. */
export const writes: Readonly<Record<string, readonly [weight: number, steps: (draw: Draw) => Step[]]>> = {
  insert: [16, (draw) => [`${insert(draw, 1 + draw.random.below(20))} on conflict do nothing`]],
  COPY: [
    3,
    (draw) => {
      const rows = Array.from({ length: 1 + draw.random.below(20) }, () =>
        draw.row().slice(1, -1).replaceAll(', ', ','),
      );
      const shell = `printf '%s\\n' ${rows.map((row) => `"${row}"`).join(' ')}`;
      return [
        `copy ${draw.table.name} (${columnsOf(draw.table)}) from program '${shell.replaceAll("'", "''")}' with (format csv, quote '''', null 'null')`,
      ];
    },
  ],
  upsert: [
    10,
    (draw) => [
      `${insert(draw)} on conflict (${draw.table.keys}) do update set body = excluded.body, title = excluded.title`,
    ],
  ],
  update: [16, (draw) => [update(draw)]],
  'update of many': [
    5,
    (draw) => [
      `update ${draw.table.name} set title = ${draw.text()}, body = left(concat(body, ' more'), 300) where ${draw.some()}`,
    ],
  ],
  'update of another column': [
    5,
    (draw) => [`update ${draw.table.name} set other = ${draw.random.below(100)} where ${draw.some()}`],
  ],
  'in and out of a filter': [
    5,
    (draw) => [`update ${draw.table.name} set open = not open where ${draw.some()}`],
  ],
  delete: [7, (draw) => [remove(draw)]],
  'delete of many': [2, (draw) => [`delete from ${draw.table.name} where ${draw.some()}`]],
  'another key': [
    5,
    (draw) => [
      `update ${draw.table.name} set ${draw.table.keys.at(-1)} = ${draw.table.name === 'pair' ? `'k${draw.random.below(KEYS)}'` : draw.random.below(KEYS)} where ${draw.one()}`,
    ],
  ],
  'delete and insert of a key': [
    5,
    (draw) => {
      const row = draw.row();
      const key = /^\(([^,]+)/.exec(row)![1];
      return [
        'begin',
        `delete from ${draw.table.name} where ${draw.table.keys[0]} = ${key}`,
        `insert into ${draw.table.name} (${columnsOf(draw.table)}) values ${row}`,
        'commit',
      ];
    },
  ],
  savepoint: [
    4,
    (draw) => [
      'begin',
      update(draw),
      'savepoint a',
      update(draw),
      remove(draw),
      'rollback to a',
      update(draw),
      'commit',
    ],
  ],
  rollback: [
    4,
    (draw) => ['begin', update(draw), `${insert(draw)} on conflict do nothing`, remove(draw), 'rollback'],
  ],
  'long transaction': [
    3,
    (draw) => [
      'begin',
      update(draw),
      500 + draw.random.below(4_000),
      remove(draw),
      draw.random.chance(0.7) ? 'commit' : 'rollback',
    ],
  ],
  'repeatable read': [
    4,
    (draw) => [
      'begin isolation level repeatable read',
      `select count(*) from ${draw.table.name}`,
      draw.random.below(1_500),
      update(draw),
      remove(draw),
      'commit',
    ],
  ],
  serializable: [
    2,
    (draw) => [
      'begin isolation level serializable',
      `select count(*) from ${draw.table.name} where ${draw.some()}`,
      draw.random.below(500),
      update(draw),
      `${insert(draw)} on conflict do nothing`,
      'commit',
    ],
  ],
  'swap of two keys': [
    2,
    (draw) => {
      if (draw.table.name !== 'swaps') return [update(draw)];
      const [a, b] = [draw.random.below(KEYS), draw.random.below(KEYS)];
      return [`update swaps set id = case id when ${a} then ${b} else ${a} end where id in (${a}, ${b})`];
    },
  ],
  'one key twice for a moment': [
    1,
    (draw) => {
      if (draw.table.name !== 'swaps') return [update(draw)];
      const key = draw.random.below(KEYS);
      return [
        'begin',
        'set constraints all deferred',
        `insert into swaps (id, body) values (${key}, ${draw.text()})`,
        `delete from swaps where ctid in (select ctid from swaps where id = ${key} order by ctid limit 1) and (select count(*) from swaps where id = ${key}) > 1`,
        'commit',
      ];
    },
  ],
  truncate: [
    0.2,
    (draw) => [
      'begin',
      `truncate ${draw.table.name}`,
      `${insert(draw, 10)} on conflict do nothing`,
      draw.random.chance(0.6) ? 'commit' : 'rollback',
    ],
  ],
  'prepared transaction': [
    1,
    (draw) => {
      const name = `soak_${draw.random.below(1e9)}`;
      return [
        'begin',
        update(draw),
        `prepare transaction '${name}'`,
        draw.random.below(1_000),
        draw.random.chance(0.7) ? `commit prepared '${name}'` : `rollback prepared '${name}'`,
      ];
    },
  ],
  'several in one statement': [
    2,
    (draw) => [
      `with gone as (delete from ${draw.table.name} where ${draw.one()} returning 1), changed as (update ${draw.table.name} set body = ${draw.text()} where ${draw.one()} returning 1) ${insert(draw)} on conflict do nothing`,
    ],
  ],
  enqueue_embed: [
    2,
    (draw) => [
      draw.table.keys.length === 1
        ? `select embedder.enqueue_embed('${draw.table.name}', '${draw.random.below(KEYS)}')`
        : `select 1`,
    ],
  ],
  'a result taken away': [
    0.5,
    (draw) => [
      draw.table.name === 'own' ? `update own set embedding = null where ${draw.one()}` : 'select 1',
    ],
  ],
};

/** What a statement may be refused with while others write, declare and break things. */
const EXPECTED =
  /^(40001|40P01|23505|23514|57P0.|57014|08...|25P0.|55P03|42P01|42883|42704|25006|55000|53300|ECONN\w*|EPIPE|UNDEFINED)$/;

/** Draws a write and does it. @throws when a statement fails in a way that no other session can be the reason of */
export async function writeOnce(
  client: pg.Client,
  random: Random,
  count: (kind: string, rows: number) => void,
): Promise<void> {
  const [kind, steps] = random.draw(writes);
  const table = random.pick(tables);
  const key = () => random.below(KEYS);
  const text = () =>
    random.chance(0.04)
      ? 'null'
      : random.chance(0.03)
        ? "'  '"
        : `'${Array.from({ length: 1 + random.below(random.chance(0.1) ? 60 : 8) }, () => random.pick(WORDS)).join(' ')}'`;
  const keyValues = () => (table.keys.length > 1 ? `${key() % 20}, 'k${key()}'` : `${key()}`);
  const draw: Draw = {
    random,
    table,
    text,
    row: () => `(${keyValues()}, ${text()}, ${text()}, ${random.chance(0.6)}, ${random.below(100)})`,
    one: () => (table.keys.length > 1 ? `a = ${key() % 20} and b = 'k${key()}'` : `id = ${key()}`),
    some: () =>
      table.keys.length > 1
        ? `a = ${key() % 20}`
        : `id between ${key()} and ${key()} and id % 7 = ${key() % 7}`,
  };
  try {
    for (const step of steps(draw)) {
      if (typeof step === 'number') await new Promise((resolve) => setTimeout(resolve, step));
      else {
        const { rowCount, command } = await client.query(step);
        if (command !== 'SELECT') count(kind, rowCount ?? 0);
      }
    }
  } catch (error) {
    await client.query('rollback').catch(() => {});
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'UNDEFINED';
    if (!EXPECTED.test(code))
      throw new Error(`${kind} on ${table.name}: ${code} ${(error as Error).message}`, { cause: error });
  }
}
