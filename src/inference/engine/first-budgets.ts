/**
 * Tokens (rows x longest row, padding included) in a batch on the CPU.
 *
 * Small batches win there, since their activations stay in the cache: MiniLM int8 on 2 cores and glosses of 18 tokens
 * runs fastest at 512 to 1,024 and falls to half of that at 16,384. 1,024 has half the messages of 512. It is where
 * `TokenBudgets` begins to look.
 */
export const cpuTokenBudget = 1024;

/** Where it begins on a GPU: enough rows to keep it busy. Not measured on one yet. */
export const gpuTokenBudget = 16_384;
