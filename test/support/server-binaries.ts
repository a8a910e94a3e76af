import { execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { UserError } from '../../src/errors.ts';

const INSTALL_SCRIPT = fileURLToPath(new URL('./install-pgvector.sh', import.meta.url));
const DEBIAN_SERVERS = '/usr/lib/postgresql';

/** The programs of one PostgreSQL server that has pgvector. */
export interface ServerBinaries {
  /** Folder with `postgres`, `initdb` and `pg_ctl`. */
  directory: string;
  major: number;
  /** Whether pg_cron can be preloaded. */
  cron: boolean;
}

/** The first server that has pgvector: on PATH, so that a run can choose its version, else pg_config's, else Debian's newest. */
export function findServerBinaries(): ServerBinaries | undefined {
  for (const directory of candidateDirectories()) {
    const found = inspect(directory);
    if (found) return found;
  }
  return undefined;
}

/** Like {@link findServerBinaries}; installs the server and pgvector first where it must and may (root on Debian). */
export async function requireServerBinaries(): Promise<ServerBinaries> {
  const found = findServerBinaries();
  if (found) return found;
  if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version')) {
    throw new UserError('No PostgreSQL server with pgvector was found for the tests', {
      hint: 'Set TEST_DATABASE_URL to a superuser connection, install PostgreSQL and pgvector, or run once as root on Debian',
    });
  }
  console.log('[postgres] no server with pgvector on this machine: installing it');
  await install();
  const installed = findServerBinaries();
  if (!installed)
    throw new UserError(`${INSTALL_SCRIPT} ran, and there is still no PostgreSQL server with pgvector`);
  return installed;
}

function install(): Promise<void> {
  return new Promise((resolve, reject) => {
    const script = spawn('bash', [INSTALL_SCRIPT], { stdio: ['ignore', 'inherit', 'inherit'] });
    script.once('error', reject);
    script.once('exit', (code) => {
      if (code === 0) resolve();
      else
        reject(
          new UserError('PostgreSQL with pgvector could not be installed', { hint: 'Set TEST_DATABASE_URL' }),
        );
    });
  });
}

function candidateDirectories(): string[] {
  const directories = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  const configured = tryOutput('pg_config', '--bindir');
  if (configured) directories.push(configured);
  if (existsSync(DEBIAN_SERVERS)) {
    const majors = readdirSync(DEBIAN_SERVERS).sort((a, b) => Number(b) - Number(a));
    for (const major of majors) directories.push(join(DEBIAN_SERVERS, major, 'bin'));
  }
  return [...new Set(directories)].filter((folder) => existsSync(join(folder, 'initdb')));
}

function inspect(directory: string): ServerBinaries | undefined {
  // "postgres (PostgreSQL) 15.18 (Debian ...)"; a client package may bring pg_config's folder and no server.
  const major = /\(PostgreSQL\) (\d+)/.exec(tryOutput(join(directory, 'postgres'), '--version') ?? '')?.[1];
  if (!major) return undefined;
  const installation = join(directory, 'pg_config');
  const shared = tryOutput(installation, '--sharedir');
  const libraries = tryOutput(installation, '--pkglibdir');
  if (!shared || !libraries || !existsSync(join(shared, 'extension', 'vector.control'))) return undefined;
  return { directory, major: Number(major), cron: existsSync(join(libraries, 'pg_cron.so')) };
}

function tryOutput(program: string, flag: string): string | undefined {
  try {
    return execFileSync(program, [flag], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}
