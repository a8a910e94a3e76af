import { InferenceSession, Tensor } from 'onnxruntime-node';
import type { DeviceName } from './device.ts';
import { PROBE_COLUMNS, probeGraph, probeInput } from './probe-graph.ts';
import { providerOf } from './session-options.ts';

/** Rows with which a device has to show that it computes right, and rows of the load that is timed. */
const FEW_ROWS = 8;
const MANY_ROWS = 512;

/** Runs of which the fastest counts. */
const TIMED_RUNS = 3;

/** Largest difference to the CPU's numbers that is let pass, as a share of the largest number. */
const TOLERANCE = { float32: 0.01, float16: 0.05 } as const;

/** A session of the probe's graph on some device. */
export class ProbeSession {
  readonly #session: InferenceSession;

  private constructor(session: InferenceSession) {
    this.#session = session;
  }

  /** @throws what ONNX Runtime raises. */
  static async open(device: DeviceName, threads: number, half = false): Promise<ProbeSession> {
    const session = await InferenceSession.create(probeGraph(half), {
      executionProviders: [providerOf(device)],
      intraOpNumThreads: threads,
      logSeverityLevel: 3,
    });
    return new ProbeSession(session);
  }

  async #run(rows: number): Promise<Float32Array> {
    const { y } = await this.#session.run({
      x: new Tensor('float32', probeInput(rows), [rows, PROBE_COLUMNS]),
    });
    return y!.data as Float32Array;
  }

  /** @throws Error when the numbers are not those of the other session. */
  async compare(reference: ProbeSession, type: keyof typeof TOLERANCE): Promise<void> {
    const [given, expected] = [await this.#run(FEW_ROWS), await reference.#run(FEW_ROWS)];
    let [largest, difference] = [0, 0];
    expected.forEach((value, index) => {
      largest = Math.max(largest, Math.abs(value));
      // NaN has to count: it is larger than nothing, so it is compared by what it is not.
      const off = Math.abs(value - given[index]!);
      difference = off <= difference ? difference : off;
    });
    if (!(difference <= TOLERANCE[type] * largest)) {
      throw new Error(
        `it computes wrong in ${type}: off by ${difference.toPrecision(2)} of ${largest.toPrecision(2)}`,
      );
    }
  }

  /**
   * How many times faster than the other session this one runs a batch of many rows. When even a few rows take it
   * longer, that alone is timed: software that plays a GPU would need seconds for many.
   */
  async speedOver(reference: ProbeSession): Promise<number> {
    const allowed = await reference.#fastest(MANY_ROWS);
    const few = await this.#fastest(FEW_ROWS);
    return allowed / (few > allowed ? few : await this.#fastest(MANY_ROWS));
  }

  /** Milliseconds of the fastest of some runs, after one that does not count. */
  async #fastest(rows: number): Promise<number> {
    await this.#run(rows);
    let fastest = Number.POSITIVE_INFINITY;
    for (let run = 0; run < TIMED_RUNS; run++) {
      const begin = performance.now();
      await this.#run(rows);
      fastest = Math.min(fastest, performance.now() - begin);
    }
    return fastest;
  }
}
