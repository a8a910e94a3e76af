import type { ACTIVATIONS, VectorStep } from '../../model-files/description.ts';
import { type FloatTensor, readTensors } from '../../model-files/safetensors.ts';

/** Changes a vector; in float64. */
export type Step = (vector: Numbers) => Numbers;

type Numbers = Float64Array<ArrayBuffer>;

/**
 * The steps of a model behind its pooling, with their weights.
 * @throws UserError for files that are not what they should be
 */
export function loadSteps(steps: readonly VectorStep[]): Step[] {
  return steps.map((step) => {
    if (step.kind === 'dense') return dense(step);
    return step.kind === 'layer_norm' ? layerNorm(step) : scaled;
  });
}

/** Puts each vector of a batch through the steps. @throws Error when they are of another length than a step takes */
export function applySteps(vectors: Float32Array, rows: number, steps: readonly Step[]): Float32Array {
  const dimensions = vectors.length / rows;
  const results = Array.from({ length: rows }, (_, row) =>
    steps.reduce<Numbers>(
      (vector, step) => step(vector),
      Float64Array.from(vectors.subarray(row * dimensions, (row + 1) * dimensions)),
    ),
  );
  const length = results[0]?.length ?? 0;
  const all = new Float32Array(rows * length);
  for (const [row, result] of results.entries()) all.set(result, row * length);
  return all;
}

function dense({ path, input, output, activation }: Extract<VectorStep, { kind: 'dense' }>): Step {
  const tensors = readTensors(path);
  const weight = tensorOf(tensors, path, 'linear.weight', [output, input]);
  const bias = tensors.has('linear.bias') ? tensorOf(tensors, path, 'linear.bias', [output]) : null;
  const activate = activations[activation];
  return (vector) => {
    requireLength(vector, input, 'Dense');
    const result = new Float64Array(output);
    for (let row = 0; row < output; row++) {
      let sum = bias?.[row] ?? 0;
      const from = row * input;
      for (let column = 0; column < input; column++) sum += weight[from + column]! * vector[column]!;
      result[row] = activate(sum);
    }
    return result;
  };
}

function layerNorm({ path, size }: Extract<VectorStep, { kind: 'layer_norm' }>): Step {
  const tensors = readTensors(path);
  const weight = tensorOf(tensors, path, 'norm.weight', [size]);
  const bias = tensorOf(tensors, path, 'norm.bias', [size]);
  return (vector) => {
    requireLength(vector, size, 'LayerNorm');
    const mean = vector.reduce((sum, value) => sum + value, 0) / size;
    const variance = vector.reduce((sum, value) => sum + (value - mean) ** 2, 0) / size;
    // The epsilon is that of torch.nn.LayerNorm.
    const divisor = Math.sqrt(variance + 1e-5);
    return vector.map((value, index) => ((value - mean) / divisor) * weight[index]! + bias[index]!);
  };
}

/** torch's functions of these names. */
const activations: Record<(typeof ACTIVATIONS)[number], (x: number) => number> = {
  Identity: (x: number) => x,
  Tanh: Math.tanh,
  ReLU: (x: number) => Math.max(0, x),
  Sigmoid: (x: number) => 1 / (1 + Math.exp(-x)),
  SiLU: (x: number) => x / (1 + Math.exp(-x)),
};

/** A vector of zeros stays as it is, as in torch. */
function scaled(vector: Numbers): Numbers {
  const length = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  return length === 0 ? vector : vector.map((value) => value / length);
}

function requireLength(vector: Numbers, wanted: number, module: string): void {
  if (vector.length !== wanted)
    throw new Error(`its vectors have ${vector.length} numbers, and its module ${module} takes ${wanted}`);
}

function tensorOf(
  tensors: ReadonlyMap<string, FloatTensor>,
  path: string,
  name: string,
  shape: readonly number[],
): Float32Array {
  const tensor = tensors.get(name);
  if (tensor && String(tensor.shape) === String(shape)) return tensor.data;
  throw new Error(`${path} has no ${name} of ${shape.join(' x ')} numbers`);
}
