/** The value of a metric in Prometheus' text format, summed over all series that have the given labels; null when there is none. */
export function metricValue(text: string, name: string, labels: Record<string, string> = {}): number | null {
  let sum: number | null = null;
  for (const line of text.split('\n')) {
    const [, lineName, lineLabels = '', value] = /^([\w:]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (lineName !== name) continue;
    const found = Object.fromEntries(
      [...lineLabels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, text]) => [label, text]),
    );
    if (Object.entries(labels).some(([label, wanted]) => found[label] !== wanted)) continue;
    sum = (sum ?? 0) + Number(value);
  }
  return sum;
}
