// npm run soak -- --minutes 60 --seed 7 [--round 60]: see docs/reliability.md. Exit code 1 on a violation.
import { parseArgs } from 'node:util';
import { soak } from './soak.ts';

const { values } = parseArgs({
  options: { minutes: { type: 'string' }, seed: { type: 'string' }, round: { type: 'string' } },
});
const seed = Number(values.seed ?? Date.now() % 1e6);
const say = (line: string) => process.stdout.write(`${line}\n`);
say(`seed ${seed}`);
const report = await soak({
  seed,
  minutes: Number(values.minutes ?? 5),
  roundSeconds: Number(values.round ?? 60),
  say,
});
say(JSON.stringify({ seed, ...report }, null, 2));
process.exit(report.violations.length > 0 ? 1 : 0);
