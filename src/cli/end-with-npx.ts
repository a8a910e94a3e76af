const CHECK_MS = 500;

/**
 * `npx pgembedder work &` and `kill $!`: npx ends and hands the signal to nobody. So what it has started ends with it, as by
 * SIGTERM.
 */
export function endWithNpx(environment = process.env): void {
  if (environment.npm_command !== 'exec') return;
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    process.kill(process.pid, 'SIGTERM');
  }, CHECK_MS);
  timer.unref();
}
