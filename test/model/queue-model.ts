/**
 * The queue of one row as a small model, of which every interleaving is looked at (docs/queue.md). Two sessions write the row,
 * two workers embed it; transactions are atomic as PostgreSQL's READ COMMITTED makes them, and the row locks that the SQL takes
 * are there. It says nothing of the SQL itself: that each step does what it does here is for the tests in test/sql to show.
 */

/** What a session does to the row, in one transaction. */
export type Write = 'update' | 'delete' | 'insert' | 'delete and insert' | 'ask';

/** The parts of the SQL that keep a row from being lost, doubled or stale. Taking one away must break something. */
export const GUARDS = {
  'a job asked for again has another version': 'sql/queue/enqueue.sql, enqueue_statement',
  'a result is written for the claimed version only': 'sql/queue/complete.sql',
  'the job and its result are one transaction': 'sql/queue/complete.sql',
  'a deleted row takes its job and its result with it': 'sql/queue/forget.sql',
  'a row is locked while a job is made for it':
    'sql/generated/read.sql, row_key; sql/queue/backfill.sql, walk_range',
  'a lease ends': 'due_at of a leased job',
} as const;
export type Guard = keyof typeof GUARDS;

interface Job {
  version: number;
  /** 0 and 1: a worker; null: nobody. Of a lease that has run out, `due` is true. */
  leasedBy: 0 | 1 | null;
  due: boolean;
}

interface Claim {
  version: number;
  /** The text as it was read; undefined before, null when there was no row. */
  text?: number | null;
}

interface State {
  /** The committed text of the row, a number; null: there is no row. */
  text: number | null;
  /** Of which text the target has a vector. */
  vector: number | null;
  job: Job | null;
  /** The session whose open transaction has the row locked, and what it has made of it. */
  open: {
    by: number;
    text: number | null;
    /** Undefined: it has found none and made none, and so has none locked. */
    job: Job | null | undefined;
    /** It deletes the vector that was there. */
    forgets: boolean;
  } | null;
  /** What each session has yet to do. */
  writes: Write[][];
  claims: [Claim | null, Claim | null];
  /** How often workers may still die, and sessions roll back. */
  crashes: number;
  rollbacks: number;
  backfills: number;
  nextVersion: number;
}

/** A way to a state that must not be, step by step. */
export interface Violation {
  readonly what: string;
  readonly trace: readonly string[];
}

/**
 * Looks at all interleavings.
 * @param writes the transactions of each session, in order
 * @param without the guards that are taken out
 * @returns the first violation that is found, and how many states there were
 */
export function explore(
  writes: Write[][],
  without: readonly Guard[] = [],
): { violation: Violation | null; states: number } {
  const guarded = (guard: Guard) => !without.includes(guard);
  const start: State = {
    text: 1,
    vector: null,
    job: { version: 1, leasedBy: null, due: true },
    open: null,
    writes,
    claims: [null, null],
    crashes: 1,
    rollbacks: 1,
    backfills: 1,
    nextVersion: 2,
  };
  const seen = new Map<string, { from: string; step: string } | null>([[JSON.stringify(start), null]]);
  const waiting = [start];
  for (const state of waiting) {
    const from = JSON.stringify(state);
    const next = steps(state, guarded);
    const what = wrong(state, next.length === 0);
    if (what) return { violation: { what, trace: traceTo(from, seen) }, states: seen.size };
    for (const [step, to] of next) {
      const key = JSON.stringify(to);
      if (seen.has(key)) continue;
      seen.set(key, { from, step });
      waiting.push(to);
    }
  }
  return { violation: null, states: seen.size };
}

/** The invariants; `atRest`: nothing can happen any more. */
function wrong({ text, vector, job, open }: State, atRest: boolean): string | null {
  if (open) return atRest ? 'a transaction never ends' : null;
  if (text === null && job === null && vector !== null) return 'a vector of a row that is gone';
  if (text !== null && job === null && vector !== text)
    return vector === null ? 'a row without vector and without job' : 'a vector of an older text, and no job';
  if (atRest && job !== null) return 'a job that nobody takes';
  return null;
}

function steps(state: State, guarded: (guard: Guard) => boolean): [string, State][] {
  const found: [string, State][] = [];
  const add = (step: string, change: (next: State) => void) => {
    const next = structuredClone(state);
    change(next);
    found.push([step, next]);
  };

  for (const [by, left] of state.writes.entries()) {
    // Who finds the row locked waits.
    if (!state.open && left.length > 0)
      add(`session ${by} begins: ${left[0]}`, (next) => write(next, by, guarded));
    if (state.open?.by !== by) continue;
    add(`session ${by} commits`, (next) => {
      const { text, job, forgets } = next.open!;
      next.text = text;
      if (job !== undefined) next.job = job;
      if (forgets) next.vector = null;
      next.open = null;
      next.writes[by]!.shift();
    });
    if (state.rollbacks > 0)
      add(`session ${by} rolls back`, (next) => {
        next.open = null;
        next.writes[by]!.shift();
        next.rollbacks--;
      });
  }

  const { job } = state;
  // A job that is locked is passed by: neither claimed, nor completed, nor made.
  const free = state.open?.job === undefined;
  if (
    state.backfills > 0 &&
    job === null &&
    state.text !== null &&
    free &&
    (!state.open || !guarded('a row is locked while a job is made for it'))
  )
    add('a backfill makes a job', (next) => {
      next.job = { version: next.nextVersion++, leasedBy: null, due: true };
      next.backfills--;
    });
  if (job && !job.due && guarded('a lease ends'))
    add('the lease runs out', (next) => {
      next.job!.due = true;
    });
  for (const worker of [0, 1] as const) {
    const claim = state.claims[worker];
    if (!claim) {
      if (job?.due && free)
        add(`worker ${worker} claims`, (next) => {
          Object.assign(next.job!, { leasedBy: worker, due: false });
          next.claims[worker] = { version: job.version };
        });
      continue;
    }
    if (state.crashes > 0)
      add(`worker ${worker} dies`, (next) => {
        next.claims[worker] = null;
        next.crashes--;
        if (!guarded('the job and its result are one transaction') && next.job?.version === claim.version)
          next.job = null;
      });
    if (claim.text === undefined)
      add(`worker ${worker} reads`, (next) => {
        next.claims[worker]!.text = state.text;
      });
    else if (free) add(`worker ${worker} completes`, (next) => complete(next, worker, claim, guarded));
  }
  return found;
}

function write(next: State, by: number, guarded: (guard: Guard) => boolean): void {
  const open: State['open'] = { by, text: next.text, job: next.job ?? undefined, forgets: false };
  const ask = () => {
    const kept = open.job && !guarded('a job asked for again has another version');
    open.job = { version: kept ? open.job!.version : next.nextVersion++, leasedBy: null, due: true };
  };
  const change = () => {
    open.text = 10 + next.nextVersion;
    ask();
  };
  const what = next.writes[by]![0]!;
  if (what.startsWith('delete') && open.text !== null) {
    open.text = null;
    if (guarded('a deleted row takes its job and its result with it')) {
      open.forgets = next.vector !== null;
      if (open.job) open.job = null;
    }
  }
  if (what.endsWith('insert') && open.text === null) change();
  if (what === 'update' && open.text !== null) change();
  // embedder.enqueue_embed queues a key of no row as well: what is left of the row then goes.
  if (what === 'ask') ask();
  next.open = open;
}

function complete(next: State, worker: 0 | 1, claim: Claim, guarded: (guard: Guard) => boolean): void {
  next.claims[worker] = null;
  const current =
    next.job !== null &&
    (next.job.version === claim.version || !guarded('a result is written for the claimed version only'));
  if (!current) return;
  next.vector = claim.text!;
  // What comes after an open transaction has deleted the vector is not deleted by it.
  if (next.open) next.open.forgets = false;
  next.job = null;
}

function traceTo(end: string, seen: Map<string, { from: string; step: string } | null>): string[] {
  const trace: string[] = [];
  for (let at = seen.get(end); at; at = seen.get(at.from)) trace.unshift(at.step);
  return trace;
}
