import type { Panel } from './dashboard.ts';
import type { Prometheus, Series } from './prometheus.ts';

/** Of one unit of Grafana's grid, in pixels. */
const UNIT = { width: 50, height: 30 };
const GAP = 8;
const COLOURS = [
  '#3274d9',
  '#e0752d',
  '#56a64b',
  '#c4162a',
  '#8f3bb8',
  '#e5ac0e',
  '#0a9396',
  '#7c5c46',
  '#777777',
];

interface Line {
  label: string;
  points: [number, number][];
}

/** Draws the panels with what Prometheus has for them, as SVG, laid out as in Grafana. */
export async function drawDashboard(
  panels: readonly Panel[],
  prometheus: Prometheus,
  seconds: number,
): Promise<string> {
  const height = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * UNIT.height;
  const drawn = await Promise.all(panels.map((panel) => drawPanel(panel, prometheus, seconds)));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${24 * UNIT.width} ${height}" font-family="sans-serif" font-size="11">
<title>The panels of the dashboard, with data of a worker under load</title>
<rect width="100%" height="100%" fill="#f4f5f5"/>
${drawn.join('\n')}
</svg>
`;
}

async function drawPanel(panel: Panel, prometheus: Prometheus, seconds: number): Promise<string> {
  const { x, y, w, h } = panel.gridPos;
  const width = w * UNIT.width - GAP;
  const height = h * UNIT.height - GAP;
  const inside =
    panel.type === 'row'
      ? text(4, 17, panel.title, 'font-weight="bold" font-size="14"')
      : `<rect width="${width}" height="${height}" rx="3" fill="#fff" stroke="#d8d9da"/>
${text(10, 18, panel.title, 'font-weight="bold"')}
${await drawData(panel, prometheus, seconds, width, height)}`;
  return `<g transform="translate(${x * UNIT.width + GAP / 2} ${y * UNIT.height + GAP / 2})">${inside}</g>`;
}

async function drawData(
  panel: Panel,
  prometheus: Prometheus,
  seconds: number,
  width: number,
  height: number,
): Promise<string> {
  const answers = await Promise.all(
    panel.queries.map(async ({ expression, legend }) =>
      (await prometheus.queryRange(expression, seconds)).map((series) => toLine(series, legend)),
    ),
  );
  const lines = answers.flat();
  if (panel.type === 'stat') {
    const last = lines[0]?.points.at(-1)?.[1];
    return text(
      10,
      height - 22,
      last === undefined ? 'no data' : format(last, panel.unit),
      'font-size="30" fill="#3274d9"',
    );
  }
  return drawLines(lines, panel, width, height);
}

function toLine({ metric, values = [] }: Series, legend: string): Line {
  const label = legend.replace(/{{(\w+)}}/g, (_, name: string) => metric[name] ?? '');
  const points = values.map(([time, value]): [number, number] => [time, Number(value)]);
  return { label, points: points.filter(([, value]) => Number.isFinite(value)) };
}

function drawLines(
  lines: readonly Line[],
  { unit, log }: Pick<Panel, 'unit' | 'log'>,
  width: number,
  height: number,
): string {
  const all = lines.flatMap(({ points }) => points);
  if (all.length === 0) return text(10, height / 2, 'no data');
  const legend = layLegend(lines, width);
  const area = { left: 62, right: width - 10, top: 30, bottom: height - 14 - legend.rows * 14 };
  const [from, to] = [Math.min(...all.map(([time]) => time)), Math.max(...all.map(([time]) => time))];
  const most = Math.max(...all.map(([, value]) => value)) || 1;
  // Of a logarithmic axis: four decades, and what is below on the floor.
  const height01 = (value: number) =>
    log ? Math.max(0, 1 + Math.log10(Math.max(value, 1e-12) / most) / 4) : value / most;
  const valueAt = (share: number) => (log ? most * 10 ** (4 * (share - 1)) : share * most);
  const place = ([time, value]: [number, number]) =>
    `${(area.left + ((time - from) / Math.max(1, to - from)) * (area.right - area.left)).toFixed(1)},${(
      area.bottom - height01(value) * (area.bottom - area.top)
    ).toFixed(1)}`;
  const ticks = [0, 0.5, 1].map((share) => {
    const y = area.bottom - share * (area.bottom - area.top);
    return `<line x1="${area.left}" x2="${area.right}" y1="${y}" y2="${y}" stroke="#e8e8e8"/>${text(
      area.left - 6,
      y + 4,
      format(valueAt(share), unit),
      'text-anchor="end" fill="#666"',
    )}`;
  });
  const curves = lines.map(
    ({ points }, i) =>
      `<polyline points="${points.map(place).join(' ')}" fill="none" stroke="${COLOURS[i % COLOURS.length]}" stroke-width="1.5"/>`,
  );
  return [
    ...ticks,
    ...curves,
    `<g transform="translate(0 ${height - legend.rows * 14})">${legend.svg}</g>`,
  ].join('');
}

function layLegend(lines: readonly Line[], width: number): { svg: string; rows: number } {
  let [x, row] = [10, 0];
  const entries = lines.map(({ label }, i) => {
    const length = label.length * 6 + 26;
    if (x > 10 && x + length > width) [x, row] = [10, row + 1];
    const entry = `<rect x="${x}" y="${row * 14}" width="10" height="3" fill="${COLOURS[i % COLOURS.length]}"/>${text(x + 14, row * 14 + 6, label, 'fill="#444"')}`;
    x += length;
    return entry;
  });
  return { svg: entries.join(''), rows: row + 1 };
}

function text(x: number, y: number, words: string, attributes = ''): string {
  const escaped = words.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
  return `<text x="${x}" y="${y}" ${attributes}>${escaped}</text>`;
}

/** A figure in one of the units that the dashboard uses. */
function format(value: number, unit: string): string {
  if (unit === 'percentunit') return `${(100 * value).toFixed(1)} %`;
  if (unit === 'bytes') return `${(value / 2 ** 20).toFixed(0)} MiB`;
  if (unit === 's') return value < 1 ? `${(1_000 * value).toFixed(1)} ms` : `${value.toFixed(1)} s`;
  const figure = value >= 1_000 ? `${(value / 1_000).toFixed(1)} k` : String(Number(value.toFixed(2)));
  return unit === 'rowsps' || unit === 'cps' ? `${figure}/s` : figure;
}
