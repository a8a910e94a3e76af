export interface PollOptions {
  /** Milliseconds until it gives up and throws (default 30,000). */
  deadline?: number;
  /** Milliseconds between two looks (default 20). */
  every?: number;
  /** What is waited for, for the error message. */
  what?: string;
}

/**
 * Looks again and again until `condition` gives something truthy, and returns that.
 *
 * The last resort: wait for an event (a promise, a log line, a NOTIFY, a process's exit) where there is one. It is
 * for a state of the database that nobody announces, such as "the job table is empty".
 */
export async function pollUntil<T>(
  condition: () => Promise<T> | T,
  options: PollOptions = {},
): Promise<NonNullable<T>> {
  const { deadline = 30_000, every = 20, what = 'the condition' } = options;
  const end = performance.now() + deadline;
  for (;;) {
    const value = await condition();
    if (value) return value as NonNullable<T>;
    if (performance.now() > end) throw new Error(`${what} did not come true within ${deadline} ms`);
    await new Promise((resolve) => setTimeout(resolve, every));
  }
}
