/** An arrow between two nodes. */
export interface Edge {
  readonly from: string;
  readonly to: string;
}

/** Where a node lies: its layer from the top, and its middle from the left. */
export interface Place {
  readonly layer: number;
  readonly x: number;
}

/** A graph without circles, laid out in layers so that every arrow goes down. */
export interface Layout<Arrow extends Edge> {
  readonly places: ReadonlyMap<string, Place>;
  /** Each arrow with the points it passes through, its ends included. */
  readonly arrows: readonly { readonly edge: Arrow; readonly points: readonly Place[] }[];
  readonly layers: number;
}

/** The arrows that do not follow from others: from a to c there is none where a has one to b, and b to c. */
export function withoutImplied<Arrow extends Edge>(edges: readonly Arrow[]): Arrow[] {
  const reaches = (from: string, to: string): boolean =>
    edges.some((edge) => edge.from === from && (edge.to === to || reaches(edge.to, to)));
  return edges.filter(
    ({ from, to }) => !edges.some((edge) => edge.from === from && edge.to !== to && reaches(edge.to, to)),
  );
}

/** Times the nodes of each layer are sorted by where their neighbours are. */
const sweeps = 24;

/**
 * Lays a graph out after Sugiyama: a layer for each node, stand-ins where an arrow passes a layer, each layer sorted by the
 * middle of the neighbours, and then places as near to that middle as the distance to the next node lets them be.
 * @param widthOf width of a node; null for the stand-in of an arrow
 */
export function layOut<Arrow extends Edge>(
  names: readonly string[],
  edges: readonly Arrow[],
  widthOf: (name: string | null) => number,
): Layout<Arrow> {
  const layerOf = new Map<string, number>();
  const layer = (name: string): number => {
    const above = edges.filter(({ to }) => to === name).map(({ from }) => layer(from) + 1);
    const known = layerOf.get(name) ?? Math.max(0, ...above);
    layerOf.set(name, known);
    return known;
  };
  const layers: string[][] = [];
  for (const name of names) push(layers, layer(name), name);
  const isNode = new Set(names);
  const neighbours = new Map<string, string[]>();
  const paths = edges.map((edge, index) => {
    const path = [edge.from];
    for (let at = layer(edge.from) + 1; at < layer(edge.to); at++) {
      const standIn = `${index} at ${at}`;
      push(layers, at, standIn);
      path.push(standIn);
    }
    path.push(edge.to);
    path.slice(1).forEach((name, place) => {
      neighbours.set(name, [...(neighbours.get(name) ?? []), path[place]!]);
      neighbours.set(path[place]!, [...(neighbours.get(path[place]!) ?? []), name]);
    });
    return path;
  });
  const x = new Map<string, number>();
  const arrange = (row: readonly string[]) => {
    const widths = row.map((name) => widthOf(isNode.has(name) ? name : null));
    const wanted = row.map((name) => mean((neighbours.get(name) ?? [name]).map((each) => x.get(each) ?? 0)));
    apart(wanted, widths).forEach((place, index) => {
      x.set(row[index]!, place);
    });
  };
  for (const row of layers) {
    row.forEach((name, index) => {
      x.set(name, index * 100);
    });
  }
  for (let sweep = 0; sweep < sweeps; sweep++) {
    for (const row of sweep % 2 === 0 ? layers : layers.toReversed()) {
      const middle = new Map(
        row.map((name) => [name, mean((neighbours.get(name) ?? [name]).map((each) => x.get(each)!))]),
      );
      row.sort((a, b) => middle.get(a)! - middle.get(b)!);
      arrange(row);
    }
  }
  const place = (name: string, at: number): Place => ({ layer: at, x: x.get(name)! });
  return {
    places: new Map(names.map((name) => [name, place(name, layer(name))])),
    arrows: edges.map((edge, index) => ({
      edge,
      points: paths[index]!.map((name, step) => place(name, layer(edge.from) + step)),
    })),
    layers: layers.length,
  };
}

/** Places as near as can be to the wanted ones, in this order and none over the next one. */
function apart(wanted: readonly number[], widths: readonly number[]): number[] {
  let at = 0;
  const least = widths.map((width, index) => {
    if (index > 0) at += (widths[index - 1]! + width) / 2;
    return at;
  });
  // Groups that touch each other, with the shift that suits their members best: isotonic regression.
  const groups: { sum: number; size: number }[] = [];
  wanted.forEach((place, index) => {
    groups.push({ sum: place - least[index]!, size: 1 });
    for (let last = groups.at(-1)!, before = groups.at(-2); before; before = groups.at(-2)) {
      if (before.sum / before.size <= last.sum / last.size) break;
      groups.pop();
      before.sum += last.sum;
      before.size += last.size;
      last = before;
    }
  });
  const shifts = groups.flatMap(({ sum, size }) => new Array<number>(size).fill(sum / size));
  return least.map((place, index) => place + shifts[index]!);
}

function push(layers: string[][], at: number, name: string): void {
  layers[at] ??= [];
  layers[at].push(name);
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}
