/** The name that libpq and pg derive from the folder (`host`) and the default port. */
export const SOCKET_NAME = '.s.PGSQL.5432';

/** What the embedded server's process tells the one that started it. */
export type ServerReport =
  /** This process serves the directory. */
  | { type: 'serving'; socketDirectory: string; initialized: boolean; milliseconds: number }
  /** Another process serves it already. */
  | { type: 'served elsewhere'; socketDirectory: string }
  /** The data folder of an interrupted initialisation was put aside. */
  | { type: 'put aside'; folder: string }
  /** It crashed inside while serving, and exits; the next start recovers what was committed. */
  | { type: 'broken'; reason: string }
  | { type: 'failed'; message: string; hint?: string };

/** What it is told: to close the database and to exit. The end of the channel means the same. */
export interface ServerOrder {
  type: 'stop';
}
