// node summary.mjs REPORT STATUS: prints the closing line of a test run from Vitest's JSON report, and exits 1
// unless every test ran and passed.
import { readFileSync } from 'node:fs';

const [reportFile, status] = process.argv.slice(2);

let report;
try {
  report = JSON.parse(readFileSync(reportFile, 'utf8'));
} catch {
  console.log('The test run wrote no report.');
  console.log('0 passed, 1 failed');
  process.exit(1);
}

const passed = report.numPassedTests;
const skipped = report.numPendingTests + report.numTodoTests;
// A file that could not be loaded, or whose set-up failed, may have no failed test of its own.
const brokenFiles = report.testResults.filter(
  (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
).length;
let failed = report.numFailedTests + brokenFiles;
// Errors outside of any test (an unhandled rejection) show in the exit status alone.
if (failed === 0 && status !== '0') failed = 1;

for (const file of report.testResults) {
  for (const test of file.assertionResults) {
    if (!['passed', 'failed'].includes(test.status)) console.log(`not run: ${file.name}: ${test.fullName}`);
  }
}
if (skipped > 0) console.log('Nothing may be skipped in CI.');
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exit(failed === 0 && skipped === 0 && passed > 0 ? 0 : 1);
