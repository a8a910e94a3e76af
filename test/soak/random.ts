/** Numbers that a seed decides: mulberry32, by Tommy Ettinger, in the public domain. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 to before 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** A whole number from 0 to before `end`. */
  below(end: number): number {
    return Math.floor(this.next() * end);
  }

  pick<Item>(items: readonly Item[]): Item {
    return items[this.below(items.length)]!;
  }

  /** One of these, as often as its weight says, with its name. */
  draw<Item>(
    weighed: Readonly<Record<string, readonly [weight: number, item: Item]>>,
  ): [name: string, item: Item] {
    const entries = Object.entries(weighed);
    let at = this.next() * entries.reduce((sum, [, [weight]]) => sum + weight, 0);
    for (const [name, [weight, item]] of entries) {
      at -= weight;
      if (at < 0) return [name, item];
    }
    throw new Error('nothing to draw from');
  }

  chance(share: number): boolean {
    return this.next() < share;
  }
}
