import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { settleSsl } from '../database/connection-url.ts';
import { type Connection, type Database, openDatabase } from '../database/database.ts';
import { isConnectionError } from '../database/errors.ts';
import { migrate } from '../database/migrate/migrate.ts';
import { startEmbedded } from '../embedded/start-embedded.ts';
import { UserError } from '../errors.ts';
import { knownModels } from '../models/known-models.ts';
import type { Environment } from './environment.ts';
import { explainConnection, UsageError } from './errors.ts';
import { errorColours, say } from './output.ts';

/** Where the embedded Postgres lies by default. */
export const EMBEDDED_DIRECTORY = '.pgembedder';

/** The flags that say which database. */
export interface DatabaseOptions {
  /** A directory, or true for the default one. */
  embedded?: string | true;
  databaseUrl?: string;
}

/** Gives a command the flags of `withDatabase`. */
export function addDatabaseOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--database-url <url>', 'the database, as postgres://user:password@host:port/name').env(
        'DATABASE_URL',
      ),
    )
    .option(
      '--embedded [dir]',
      `an embedded Postgres in this directory (default: ${EMBEDDED_DIRECTORY}), for trying out; put it last, or write --embedded=DIR`,
    );
}

/** The embedded Postgres has ended while a command was using it. */
export class EmbeddedEnded extends UserError {
  /** Whether another command had started it and has now ended. */
  readonly joined: boolean;

  constructor(directory: string, joined: boolean) {
    const what = joined ? 'the command that ran the embedded Postgres' : 'the embedded Postgres';
    super(`${what} in ${directory} has ended`, { hint: 'Run this again: what was committed is kept' });
    this.joined = joined;
  }
}

/** An open database. */
export interface OpenDatabase {
  readonly connection: Connection;
  readonly database: Database;
  /** Resolves when the embedded Postgres ends without being asked to by this command; else never. */
  readonly ended: Promise<EmbeddedEnded>;
}

/**
 * Opens the database that the flags name, has it used, and closes it. The embedded one is migrated at once.
 * @param notice prints that the embedded one is for trying out
 * @throws UserError where the database cannot be reached
 */
export async function withDatabase<Result>(
  options: DatabaseOptions,
  environment: Environment,
  use: (open: OpenDatabase) => Promise<Result>,
  notice: (line: string) => void = (line) => say(errorColours.dim(line)),
): Promise<Result> {
  if (options.embedded !== undefined) return withEmbedded(options.embedded, environment, use, notice);
  const connection = await readConnection(options.databaseUrl || environment.config.DATABASE_URL);
  const database = openDatabase(connection);
  try {
    return await use({ connection, database, ended: new Promise(() => {}) });
  } catch (error) {
    throw explainConnection(error, connection);
  } finally {
    await database.destroy();
  }
}

async function withEmbedded<Result>(
  given: string | true,
  environment: Environment,
  use: (open: OpenDatabase) => Promise<Result>,
  notice: (line: string) => void,
): Promise<Result> {
  const directory = given === true ? EMBEDDED_DIRECTORY : given;
  // Before the start, which takes some seconds in a new directory.
  notice(`Embedded Postgres in ${directory}: for trying out, not for production.`);
  if (!existsSync(directory)) notice('It is made now, which takes some seconds ...');
  const embedded = await startEmbedded(directory, { logger: environment.logger });
  const { connection, owner } = embedded;
  const ended = embedded.ended.then(() => new EmbeddedEnded(directory, !owner));
  const database = openDatabase(connection);
  try {
    await migrate(database, knownModels(environment.store, environment.endpoints, environment.logger));
    return await use({ connection, database, ended });
  } catch (error) {
    if (!owner && isConnectionError(error)) throw new EmbeddedEnded(directory, true);
    throw explainConnection(error, connection);
  } finally {
    await database.destroy();
    await embedded.stop();
  }
}

/** @throws UsageError when the URL is missing or cannot be read */
async function readConnection(url: string | undefined): Promise<Connection> {
  if (!url) {
    throw new UsageError('no database is named', {
      hint: 'Set DATABASE_URL (or give --database-url) to your PostgreSQL, or add --embedded to try it without one',
    });
  }
  try {
    return await settleSsl(url);
  } catch (error) {
    if (error instanceof UserError) throw new UsageError(error.message, { hint: error.hint });
    throw error;
  }
}
