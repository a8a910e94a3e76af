// Two pipelines on one table of mail: one says what each message is, one makes it searchable. See README.md.
import { readFile } from 'node:fs/promises';
import { sql } from 'kysely';
import { createEmbedder, createWorker, migrate, openDatabase, search } from 'pgembedder';
import { messages } from './messages.mjs';

const connection = process.env.DATABASE_URL;
if (!connection) {
  console.error('Set DATABASE_URL to a database with pgvector: docker compose up -d postgres gives one');
  process.exit(2);
}
const most = Number(process.argv[2] ?? 1_000);
const file = (name) => readFile(new URL(name, import.meta.url), 'utf8');
const database = openDatabase(connection);

await migrate(database);
await sql.raw(await file('declare.sql')).execute(database);

let stored = 0;
for await (const { id, spam, subject, body } of messages(most)) {
  await sql`insert into mail values (${id}, ${spam}, ${subject}, ${body})
    on conflict (id) do update set (spam, subject, body) = (excluded.spam, excluded.subject, excluded.body)`.execute(
    database,
  );
  stored++;
}
console.log(`${stored} messages stored`);

// A deployment runs `pgembedder work` beside the application; here the worker is part of it, and ends when all is done.
const worker = createWorker({ connection });
const { embedded, dead, seconds } = await worker.drain();
console.log(`${embedded} results in ${seconds.toFixed(0)} s, ${dead} rows with errors`);

const { rows: report } = await sql.raw(await file('report.sql')).execute(database);
console.table(report);

const models = await createEmbedder();
for (const question of ['somebody offers a share of a fortune', 'how do I install a printer']) {
  console.log(`\n${question}?`);
  for (const { key, similarity, input } of await search(database, models, 'mail_parts', question, { k: 3 }))
    console.log(`  ${similarity.toFixed(2)}  ${key.id}  ${input.replaceAll(/\s+/g, ' ').slice(0, 90)}`);
}
await models.close();
await database.destroy();
