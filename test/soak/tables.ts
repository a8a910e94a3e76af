/** A table of the simulation, with its key. */
export interface Table {
  readonly name: string;
  readonly keys: readonly string[];
  readonly create: string;
}

const COLUMNS = 'title text, body text, open boolean not null default true, other int not null default 0';

export const tables: readonly Table[] = [
  { name: 'plain', keys: ['id'], create: `create table plain (id int primary key, ${COLUMNS})` },
  {
    name: 'own',
    keys: ['id'],
    create: `create table own (id bigint primary key, ${COLUMNS}, embedding vector(384))`,
  },
  {
    name: 'pair',
    keys: ['a', 'b'],
    create: `create table pair (a int, b text, ${COLUMNS}, primary key (a, b))`,
  },
  {
    name: 'parts',
    keys: ['id'],
    create: `create table parts (id int primary key, ${COLUMNS}) partition by range (id);
      create table parts_low partition of parts for values from (minvalue) to (100);
      create table parts_high partition of parts for values from (100) to (maxvalue)`,
  },
  {
    name: 'swaps',
    keys: ['id'],
    create: `create table swaps (id numeric, ${COLUMNS}, primary key (id) deferrable initially immediate)`,
  },
];

/** A pipeline of the simulation: how it is declared, and what it is changed to. */
export interface Declared {
  readonly name: string;
  readonly table: string;
  readonly create: string;
  readonly changes: readonly string[];
}

const CHUNKS = `'{"strategy": "recursive", "size": 16, "overlap": 0}'`;

export const pipelines: readonly Declared[] = [
  {
    name: 'plain',
    table: 'plain',
    create: `'plain', 'body', index => 'none'`,
    changes: [`filter => 'open'`, `filter => ''`, `input => '{title}: {body}'`, `input => 'body'`],
  },
  {
    name: 'open',
    table: 'plain',
    create: `'plain', '{title} / {body}', name => 'open', filter => 'open and other < 50', index => 'none'`,
    changes: [`filter => 'other < 80'`, `filter => 'open'`],
  },
  {
    name: 'own',
    table: 'own',
    create: `'own', 'body', target_column => 'embedding', index => 'none'`,
    changes: [`filter => 'open'`, `filter => ''`],
  },
  {
    name: 'chunks',
    table: 'plain',
    create: `'plain', 'body', name => 'chunks', chunking => ${CHUNKS}, index => 'none'`,
    changes: [`priority => 5`, `priority => 0`, `options => '{"prompt": "p: "}'`, `options => '{}'`],
  },
  {
    name: 'pair',
    table: 'pair',
    create: `'pair', 'body', index => 'none'`,
    changes: [`max_attempts => 3`, `max_attempts => 5`],
  },
  {
    name: 'parts',
    table: 'parts',
    create: `'parts', '{title} {body}', name => 'parts', index => 'none'`,
    changes: [`input => 'body'`, `input => '{title} {body}'`],
  },
  {
    name: 'swaps',
    table: 'swaps',
    create: `'swaps', 'body', index => 'none'`,
    changes: [`filter => 'open'`, `filter => ''`],
  },
];
