import type { Database } from '../../database/database.ts';
import { deviatingSettings } from '../../database/sessions.ts';
import { type Report, warn } from './check.ts';

/**
 * Settings of the role or the database that would end or change what a worker does. On a session of its own it sets them
 * back; sessions of a pooler it must leave as they are.
 */
export async function checkSettings(database: Database, role: string, add: Report): Promise<void> {
  const settings = await deviatingSettings(database);
  if (settings.length === 0) return;
  add(
    warn(
      'settings',
      `${settings.map(({ name, value }) => `${name} = ${value}`).join(', ')}: behind a pooler a worker cannot change that`,
      `Give the worker a role without: ${settings.map(({ name }) => `alter role ${role} set ${name} to default;`).join(' ')}`,
    ),
  );
}
