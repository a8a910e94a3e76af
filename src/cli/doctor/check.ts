export type State = 'ok' | 'warn' | 'fail';

/** One point that the doctor has looked at. */
export interface Check {
  state: State;
  name: string;
  /** What was found. */
  found: string;
  /** What to do about it; null where nothing is to be done. */
  advice: string | null;
}

/** Takes each check as it is made. */
export type Report = (check: Check) => void;

export function ok(name: string, found: string): Check {
  return { state: 'ok', name, found, advice: null };
}

export function warn(name: string, found: string, advice: string): Check {
  return { state: 'warn', name, found, advice };
}

export function fail(name: string, found: string, advice: string | null = null): Check {
  return { state: 'fail', name, found, advice };
}
