import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import pg from 'pg';

const url = process.argv[2],
  sock = process.argv[3];
const rounds = Number(process.argv[4] ?? 5);
const secs = Number(process.argv[5] ?? 2);
const names = process.argv[6].split(',');
const c = new pg.Client({ connectionString: url });
await c.connect();
const u = new URL(url);
await c.query(`set client_min_messages = error; drop schema if exists tv cascade; create schema tv`);
const pm = Number(
  readFileSync(`/proc/${(await c.query('select pg_backend_pid() p')).rows[0].p}/stat`, 'utf8')
    .split(') ')[1]
    .split(' ')[1],
);
const ins = `insert into embedder.job (pipeline_id, row_key) select  1, n.id::text from new_rows n`;
const conf = ` on conflict (pipeline_id, row_key) do update set version = excluded.version, due_at = excluded.due_at, attempts = 0, leased_by = null, last_error = null;`;
const cond = `exists (select from embedder.worker_process where idle and listening and beat_at > now() - '00:00:10'::interval)`;
const wake = ` if found and ${cond} then perform pg_notify('embedder_job', ''); end if;`;
const exc = ` exception when transaction_rollback or lock_not_available or insufficient_resources then raise; when others then perform embedder.trigger_failed(1, tg_op, sqlerrm); return null;`;
const S = `security definer set search_path = pg_catalog, pg_temp`;
const J = ` set jit = off`;
const fn = (body, settings, decl = '') => ({ body, settings, decl });
const V = {
  plain: null,
  noop: fn(` return null;`, ``),
  current: fn(ins + conf + wake + ` return null;` + exc, S + J),
  noexc: fn(ins + conf + wake + ` return null;`, S + J),
  noexc_nojit: fn(ins + conf + wake + ` return null;`, S),
  noexc_noset: fn(ins + conf + wake + ` return null;`, 'security definer'),
  nowake: fn(ins + conf + ` return null;` + exc, S + J),
  noconf: fn(ins + ';' + wake + ` return null;` + exc, S + J),
  bare: fn(ins + ';' + ` return null;`, 'security definer'),
  bareconf: fn(ins + conf + ` return null;`, 'security definer'),
  ...(process.env.EXTRA
    ? (await import(process.env.EXTRA)).default({ fn, ins, conf, wake, exc, S, J, cond })
    : {}),
};
for (const name of names) {
  const v = V[name];
  if (v?.setup) await c.query(v.setup);
  await c.query(`create table tv.${name} (id bigint generated always as identity primary key, body text)`);
  if (!v) continue;
  await c.query(`create function tv.f_${name}() returns trigger language plpgsql ${v.settings} as $f$#variable_conflict use_column
  ${v.decl} begin ${v.body} end $f$`);
  await c.query(
    v.trigger
      ? v.trigger(name)
      : `create trigger t after insert on tv.${name} referencing new table as new_rows for each statement execute function tv.f_${name}()`,
  );
}
const ccpu = () => {
  const f = readFileSync(`/proc/${pm}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(f[13]) + Number(f[14])) * 1e4;
};
const R = Object.fromEntries(names.map((n) => [n, { tps: [], cpu: [] }]));
const md = (a) => {
  const s = [...a].sort((x, y) => x - y);
  return s[s.length >> 1];
};
for (let r = 0; r < rounds; r++)
  for (const name of names) {
    await c.query(`truncate tv.${name}; truncate embedder.job`);
    await c.query('checkpoint');
    writeFileSync(
      '/tmp/tv.sql',
      `insert into tv.${name} (body) values ('a person who studies insects, and draws them');\n`,
    );
    const t = ccpu();
    const o = execFileSync(
      '/usr/lib/postgresql/15/bin/pgbench',
      [
        '-h',
        sock,
        '-p',
        u.port,
        '-U',
        'postgres',
        '-n',
        '-M',
        'prepared',
        '-c',
        '16',
        '-j',
        '1',
        '-T',
        String(secs),
        '-f',
        '/tmp/tv.sql',
        'trig',
      ],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
    await new Promise((r) => setTimeout(r, 100));
    const n = Number(/actually processed: (\d+)/.exec(o)[1]);
    R[name].cpu.push((ccpu() - t) / n);
    R[name].tps.push(Number(/^tps = ([\d.]+)/m.exec(o)[1]));
  }
const p = R[names[0]];
for (const n of names) {
  const x = R[n];
  console.log(
    n.padEnd(16),
    'tps',
    md(x.tps).toFixed(0).padStart(6),
    'max',
    Math.max(...x.tps)
      .toFixed(0)
      .padStart(6),
    ' ratio',
    md(x.tps.map((v, i) => v / p.tps[i])).toFixed(2),
    ' cpu us/tx',
    md(x.cpu).toFixed(1).padStart(6),
    'min',
    Math.min(...x.cpu).toFixed(1),
  );
}
await c.query('drop schema tv cascade');
await c.end();
