import type { Import } from './imports.ts';
import { type Edge, type Layout, layOut, type Place, withoutImplied } from './layout.ts';
import { type Room, roomOf, utilities } from './table.ts';

/** Pixels. */
const letter = 7.2;
const box = { height: 30, padding: 12 };
const layerHeight = 74;
const gap = 22;
const margin = 24;
const line = 17;

/** Fill and stroke of the rooms, by the processes that load them. */
const colours: Readonly<Record<string, { fill: string; stroke: string; says: string }>> = {
  main: { fill: '#e3edfb', stroke: '#3274d9', says: 'loaded by the worker, a command or an application' },
  both: { fill: '#efe6fa', stroke: '#7b4fc9', says: 'loaded by these and by a process that they start' },
  started: { fill: '#fdebdc', stroke: '#d9661f', says: 'loaded by the engine process alone' },
};

/** An arrow between rooms. */
interface Arrow extends Edge {
  /** Whether nothing is loaded by it. */
  readonly typesOnly: boolean;
}

/** Draws which rooms import which, as SVG: all of src/ with the inference as one box, and the inside of that box. */
export function drawRooms(imports: readonly Import[], rooms: readonly Room[]): string {
  const outer = (name: string) => name.split('/')[0]!;
  const names = rooms.map(({ name }) => name).filter((name) => name !== utilities);
  const inside = names.filter((name) => outer(name) === 'inference');
  const upper = graph([...new Set(names.map(outer))], arrowsOf(imports, rooms, outer), rooms);
  const lower = graph(
    inside,
    arrowsOf(imports, rooms, (name) => name),
    rooms,
  );
  const width = Math.ceil(Math.max(upper.width, lower.width));
  const legendTop = upper.height + lower.height + 2 * margin;
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${legendTop + 6 * line}" font-family="monospace" font-size="12">
<title>The rooms of src/ and what they import</title>
<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#777"/></marker></defs>
<rect width="100%" height="100%" fill="#fff"/>
${heading('src/', 0)}
<g transform="translate(${(width - upper.width) / 2} ${margin})">${upper.svg}</g>
${heading('src/inference/', upper.height + margin)}
<g transform="translate(${(width - lower.width) / 2} ${upper.height + 2 * margin})">${lower.svg}</g>
${legend(legendTop)}
</svg>
`;
}

/** The arrows between rooms; `as` gives the box that a room is drawn in. */
function arrowsOf(imports: readonly Import[], rooms: readonly Room[], as: (room: string) => string): Arrow[] {
  const arrows = new Map<string, Arrow>();
  for (const { file, target, isPackage, typesOnly } of imports) {
    if (isPackage) continue;
    const from = as(roomOf(file, rooms));
    const to = as(roomOf(target, rooms));
    if (from === to || from === utilities || to === utilities) continue;
    const before = arrows.get(`${from} ${to}`);
    arrows.set(`${from} ${to}`, { from, to, typesOnly: typesOnly && (before?.typesOnly ?? true) });
  }
  return [...arrows.values()];
}

function graph(
  names: readonly string[],
  arrows: readonly Arrow[],
  rooms: readonly Room[],
): { svg: string; width: number; height: number } {
  const own = arrows.filter(({ from, to }) => names.includes(from) && names.includes(to));
  const widthOf = (name: string | null) => (name === null ? 2 * gap : boxWidth(name) + gap);
  const layout = layOut(names, withoutImplied(own), widthOf);
  const edges = [...layout.places].flatMap(([name, { x }]) => [x - widthOf(name) / 2, x + widthOf(name) / 2]);
  const left = Math.min(...edges) - margin;
  const svg = [
    ...layout.arrows.map((arrow) => drawArrow(arrow, left)),
    ...[...layout.places].map(([name, place]) => drawBox(name, place, left, kindOf(name, rooms))),
  ].join('\n');
  return { svg, width: Math.max(...edges) + margin - left, height: layout.layers * layerHeight + margin };
}

function drawArrow({ edge, points }: Layout<Arrow>['arrows'][number], left: number): string {
  const at = ({ x, layer }: Place, end = 0) => [round(x - left), margin + layer * layerHeight + end] as const;
  const [first, ...others] = points;
  let [x, y] = at(first!, box.height);
  let path = `M${x} ${y}`;
  others.forEach((point, index) => {
    const isLast = index === others.length - 1;
    const [nextX, nextY] = at(point, isLast ? -1 : box.height / 2);
    const middle = round((y + nextY) / 2);
    path += `C${x} ${middle} ${nextX} ${middle} ${nextX} ${nextY}`;
    [x, y] = [nextX, nextY];
  });
  const dashes = edge.typesOnly ? ' stroke-dasharray="4 3"' : '';
  return `<path d="${path}" fill="none" stroke="#777" marker-end="url(#end)"${dashes}/>`;
}

function drawBox(name: string, { x, layer }: Place, left: number, kind: string): string {
  const { fill, stroke } = colours[kind]!;
  const [width, top] = [boxWidth(name), margin + layer * layerHeight];
  return `<rect x="${round(x - left - width / 2)}" y="${top}" width="${round(width)}" height="${box.height}" rx="4" fill="${fill}" stroke="${stroke}"/><text x="${round(x - left)}" y="${top + 19}" text-anchor="middle">${shown(name)}</text>`;
}

/** The key of its colours. */
function kindOf(name: string, rooms: readonly Room[]): string {
  const processes = rooms
    .filter((room) => room.name === name || room.name.startsWith(`${name}/`))
    .flatMap((room) => room.processes);
  if (!processes.includes('main')) return 'started';
  return processes.some((process) => process !== 'main') ? 'both' : 'main';
}

function legend(top: number): string {
  const entries = Object.values(colours).map(
    ({ fill, stroke, says }, index) =>
      `<rect x="${margin}" y="${top + index * line}" width="12" height="12" rx="2" fill="${fill}" stroke="${stroke}"/><text x="${margin + 20}" y="${top + index * line + 10}">${says}</text>`,
  );
  const notes = [
    'An arrow goes from a room to one that it imports.',
    'Dashed: only types. What follows from others is left out.',
  ].map(
    (words, index) =>
      `<text x="${margin}" y="${top + (entries.length + index) * line + 14}" fill="#444">${words}</text>`,
  );
  return [...entries, ...notes].join('\n');
}

function heading(text: string, top: number): string {
  return `<text x="${margin}" y="${top + 22}" font-size="15" font-weight="bold">${text}</text>`;
}

function shown(name: string): string {
  return name.replace(/^inference\//, '');
}

function boxWidth(name: string): number {
  return shown(name).length * letter + 2 * box.padding;
}

function round(number: number): number {
  return Math.round(number * 10) / 10;
}
