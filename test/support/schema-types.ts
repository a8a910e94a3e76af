import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { groupBy } from '../../src/group-by.ts';
import { packageRoot } from '../../src/package-root.ts';
import type { TestDatabase } from './postgres.ts';

/** How values come and go, by PostgreSQL's type (src/database/database.ts has bigints read as numbers). */
const TYPES: Readonly<Record<string, string>> = {
  boolean: 'boolean',
  smallint: 'number',
  integer: 'number',
  bigint: 'number',
  'timestamp with time zone': 'Timestamp',
  jsonb: 'unknown',
  'text[]': 'string[]',
};

/** Columns of which more is known than PostgreSQL's type says. */
const NARROWER: Readonly<Record<string, string>> = {
  'pipeline.task': 'PipelineTask',
  'pipeline.options': 'PipelineOptions',
  'pipeline.chunking': 'object',
  'status.state': 'PipelineState',
};

/** Of a view PostgreSQL does not know which of its columns are never null. */
const NEVER_NULL: Readonly<Record<string, readonly string[]>> = {
  status: [
    'pipeline',
    'source',
    'task',
    'model',
    'generation',
    'state',
    'pending',
    'leased',
    'failed',
    'rows_per_second',
    'backfill_rows_estimate',
    'index_state',
    'target_table',
    'target_column',
    'index',
    'created_at',
  ],
};

interface Column {
  relation: string;
  name: string;
  type: string;
  view: boolean;
  nullable: boolean;
  /** May be left out of an insert. */
  optional: boolean;
}

/** The text of src/database/schema.ts: the tables and views that queries of src/ name, as this database has them. */
export async function schemaTypes(database: TestDatabase): Promise<string> {
  const { rows } = await database.query<Column>(
    `select c.relname as relation, a.attname as name, format_type(a.atttypid, null) as type, c.relkind = 'v' as view,
      not a.attnotnull as nullable, a.atthasdef or a.attidentity <> '' as optional
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'embedder'::regnamespace and c.relname = any ($1) and a.attnum > 0 and not a.attisdropped
    order by c.relname, a.attnum`,
    [namedRelations()],
  );
  const relations = groupBy(rows, ({ relation }) => relation);
  const names = [...relations.keys()];
  return `// Made from the database by test/sql/schema-types.test.ts. To have it made again:
// npx vitest run test/sql/schema-types.test.ts -u

import type { ColumnType, Generated } from 'kysely';
import type { PipelineOptions, PipelineState, PipelineTask } from './column-types.ts';

/** The tables and views of schema \`embedder\` that queries made with Kysely name. */
export interface Schema {
${names.map((name) => `  'embedder.${name}': ${interfaceName(name)};`).join('\n')}
}

type Timestamp = ColumnType<Date, Date | string | undefined, Date | string>;
${[...relations].map(([name, columns]) => describe(name, columns)).join('')}`;
}

function describe(name: string, columns: readonly Column[]): string {
  return `
interface ${interfaceName(name)} {
${columns.map((column) => `  ${column.name}: ${typeOf(column)};`).join('\n')}
}
`;
}

function typeOf({ relation, name, type, view, nullable, optional }: Column): string {
  const known = NARROWER[`${relation}.${name}`] ?? TYPES[type] ?? 'string';
  const never = view ? NEVER_NULL[relation]!.includes(name) : !nullable;
  const whole = never || known === 'unknown' ? known : `${known} | null`;
  return optional && known !== 'Timestamp' ? `Generated<${whole}>` : whole;
}

/** worker_process as WorkerProcess. */
function interfaceName(relation: string): string {
  return relation.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** The relations that Kysely's queries name, by what src/ says. */
function namedRelations(): string[] {
  const source = join(packageRoot, 'src');
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  const text = files.map((file) => readFileSync(join(source, file), 'utf8')).join('\n');
  const calls = text.matchAll(/(?:From|Into|Table|Join)\(\s*'embedder\.(\w+)/g);
  return [...new Set([...calls].map(([, name]) => name!))];
}
