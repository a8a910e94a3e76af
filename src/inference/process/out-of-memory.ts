import { messageOf } from '../../errors.ts';

/**
 * What allocators say when there is not enough memory: ONNX Runtime's arena, C++'s new, JavaScript, the CUDA runtime and
 * its libraries, and Dawn (WebGPU).
 */
const COMPLAINTS =
  /failed to allocate memory|array buffer allocation failed|invalid typed array length|bad_alloc|bad allocation|out of memory|out_of_memory|cudaErrorMemoryAllocation|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|requested allocation size/i;

/** Whether a run failed since there was not enough memory for it: a smaller one may succeed. */
export function outOfMemory(error: unknown): boolean {
  return COMPLAINTS.test(messageOf(error));
}
