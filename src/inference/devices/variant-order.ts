import { CPU_VARIANTS, type Variant } from '../../model-files/variants.ts';
import type { Device } from './device.ts';

/**
 * The variants of a model in the order in which they suit a device. int8 is the fastest on a CPU (docs/decisions.md, Devices 1)
 * and has few kernels on a GPU, where float16 halves memory and time of float32.
 */
export function variantOrder({ kind, half }: Device): readonly Variant[] {
  if (kind === 'cpu') return CPU_VARIANTS;
  return half ? ['fp16', 'fp32', 'q4f16', 'q4', 'q8', 'bnb4'] : ['fp32', 'q4', 'q8', 'bnb4'];
}
