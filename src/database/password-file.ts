import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** The password for a connection in ~/.pgpass, or in the file that PGPASSFILE names, as psql reads it. */
export function findPassword(where: {
  host: string;
  port: number;
  user: string;
  database: string;
}): string | undefined {
  const host = where.host.startsWith('/') ? 'localhost' : where.host;
  const wanted = [host, `${where.port}`, where.database, where.user];
  for (const line of readPasswordFile().split(/\r?\n/)) {
    if (line.startsWith('#')) continue;
    // Fields are divided by colons; a colon or backslash in one has a backslash before it.
    const fields = (line.match(/(?:\\.|[^:\\])+|(?<=:)(?=:)/g) ?? []).map((field) =>
      field.replace(/\\(.)/g, '$1'),
    );
    if (fields.length < 5) continue;
    if (wanted.every((value, place) => fields[place] === '*' || fields[place] === value)) return fields[4];
  }
  return undefined;
}

function readPasswordFile(): string {
  const windows = process.platform === 'win32';
  const file =
    process.env.PGPASSFILE ||
    (windows
      ? join(process.env.APPDATA ?? homedir(), 'postgresql', 'pgpass.conf')
      : join(homedir(), '.pgpass'));
  try {
    // psql too ignores a file that others may read.
    if (!windows && (statSync(file).mode & 0o077) !== 0) return '';
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}
