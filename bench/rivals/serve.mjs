/**
 * The rival's end of bench/support/rival.ts: says that it is ready, then times `run(texts, options)` for each message.
 * @param {(texts: string[], options: object) => Promise<void>} run
 */
export function serve(run) {
  process.on('disconnect', () => process.exit(0));
  process.on('message', async ({ texts, options }) => {
    const begin = performance.now();
    await run(texts, options);
    process.send((performance.now() - begin) / 1_000);
  });
  process.send('ready');
}
