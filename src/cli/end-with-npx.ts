const CHECK_MS = 500;

/**
 * `npx pgembedder work &` and `kill $!`: npx ends and does not pass the signal on. So what it has started ends when npx has
 * ended, as by SIGTERM.
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
