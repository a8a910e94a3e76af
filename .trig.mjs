import { readFileSync } from 'node:fs';
import pg from 'pg';

const url = process.argv[2];
const rounds = Number(process.argv[3] ?? 12);
const N = Number(process.argv[4] ?? 2000);
const c = new pg.Client({ connectionString: url });
await c.connect();
await c.query(
  `set synchronous_commit=off; set client_min_messages = error; drop schema if exists tv cascade; create schema tv`,
);
const pid = (await c.query('select pg_backend_pid() p')).rows[0].p;
const ins = `insert into embedder.job (pipeline_id, row_key) select  1, n.id::text from new_rows n`;
const conf = ` on conflict (pipeline_id, row_key) do update set version = excluded.version, due_at = excluded.due_at, attempts = 0, leased_by = null, last_error = null;`;
const cond = `exists (select from embedder.worker_process where idle and listening and beat_at > now() - '00:00:10'::interval)`;
const wake = ` if found and ${cond} then perform pg_notify('embedder_job', ''); end if;`;
const exc = ` exception when transaction_rollback or lock_not_available or insufficient_resources then raise; when others then perform embedder.trigger_failed(1, tg_op, sqlerrm); return null;`;
const S = `security definer set search_path = pg_catalog, pg_temp`;
const J = ` set jit = off`;
const fn = (body, settings, decl = '') => ({ body, settings, decl });
const only = process.argv[5]?.split(',');
let V = {
  plain: null,
  noop: fn(` return null;`, ``),
  noop_set: fn(` return null;`, S + J),
  current: fn(ins + conf + wake + ` return null;` + exc, S + J),
  noexc: fn(ins + conf + wake + ` return null;`, S + J),
  noexc_nojit: fn(ins + conf + wake + ` return null;`, S),
  noexc_noset: fn(ins + conf + wake + ` return null;`, 'security definer'),
  noset: fn(ins + conf + wake + ` return null;` + exc, 'security definer'),
  nowake: fn(ins + conf + ` return null;` + exc, S + J),
  noconf: fn(ins + ';' + wake + ` return null;` + exc, S + J),
  bare: fn(ins + ';' + ` return null;`, 'security definer'),
  bareconf: fn(ins + conf + ` return null;`, 'security definer'),
  probe: fn(
    ` begin perform n.id::text from new_rows n limit 0; exception when others then return null; end; ` +
      ins +
      conf +
      wake +
      ` return null;`,
    S,
  ),
  keys: fn(
    ` begin keys := array(select n.id::text from new_rows n); exception when others then return null; end; ` +
      `insert into embedder.job (pipeline_id, row_key) select 1, k from unnest(keys) k` +
      conf +
      wake +
      ` return null;`,
    S,
    'declare keys text[];',
  ),
  ...(process.env.EXTRA
    ? (await import(process.env.EXTRA)).default({ fn, ins, conf, wake, exc, S, J, cond })
    : {}),
};
if (only) V = Object.fromEntries(Object.entries(V).filter(([k]) => only.includes(k) || k === 'plain'));
for (const [name, v] of Object.entries(V)) {
  await c.query(`create table tv.${name} (id bigint generated always as identity primary key, body text)`);
  if (!v) continue;
  if (v.setup) await c.query(v.setup).catch(() => {});
  await c.query(`create function tv.f_${name}() returns trigger language plpgsql ${v.settings} as $f$#variable_conflict use_column
  ${v.decl} begin ${v.body} end $f$`);
  await c.query(
    v.trigger
      ? v.trigger(name)
      : `create trigger t after insert on tv.${name} referencing new table as new_rows for each statement execute function tv.f_${name}()`,
  );
}
const cpu = () => Number(readFileSync(`/proc/${pid}/schedstat`, 'utf8').split(' ')[0]) / 1e3;
const T = Object.fromEntries(Object.keys(V).map((k) => [k, []]));
const W = Object.fromEntries(Object.keys(V).map((k) => [k, []]));
const ms = (a) => {
  const s = [...a].sort((x, y) => x - y);
  return s[s.length >> 1];
};
for (let r = 0; r < rounds + 1; r++) {
  for (const name of Object.keys(V)) {
    await c.query(`truncate tv.${name}; truncate embedder.job`);
    if (process.env.CHK) await c.query('checkpoint');
    await c.query(
      `do $$ begin for i in 1..100 loop insert into tv.${name} (body) values ('a person who studies insects, and draws them'); commit; end loop; end $$`,
    );
    const w = (await c.query('select pg_current_wal_insert_lsn() l')).rows[0].l;
    const t = cpu();
    await c.query(
      `do $$ begin for i in 1..${N} loop insert into tv.${name} (body) values ('a person who studies insects, and draws them'); commit; end loop; end $$`,
    );
    const d = (cpu() - t) / N;
    const b = Number((await c.query('select pg_current_wal_insert_lsn() - $1::pg_lsn d', [w])).rows[0].d) / N;
    if (r > 0) {
      T[name].push(d);
      W[name].push(b);
    }
  }
}
const base = ms(T.plain);
for (const k of Object.keys(V))
  console.log(
    k.padEnd(16),
    'us',
    ms(T[k]).toFixed(1).padStart(6),
    ' min',
    Math.min(...T[k])
      .toFixed(1)
      .padStart(6),
    ' over plain',
    ms(T[k].map((x, i) => x - T.plain[i]))
      .toFixed(1)
      .padStart(6),
    ' wal B',
    ms(W[k]).toFixed(0),
  );
await c.query('drop schema tv cascade');
await c.end();
