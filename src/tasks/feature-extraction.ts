import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.ts';
import { limits } from '../limits.ts';
import { POOLINGS, type SparsePooling } from '../model-files/description.ts';
import { type ModelConfig, readPooling } from '../model-files/model-folder.ts';
import { readAfterPooling, readPrompts } from '../model-files/sentence-transformers.ts';
import { readSparsePooling } from '../model-files/splade.ts';
import { storableText } from './option-values.ts';
import { defineTask } from './task.ts';

/** Places of sparse vectors travel as float32, which has whole numbers up to this one. */
const MOST_TERMS = 2 ** 24;
/** Numbers that are not 0, in a vector of pgvector's (VECTOR_MAX_DIM, HALFVEC_MAX_DIM, SPARSEVEC_MAX_NNZ). */
const MOST_NUMBERS = 16_000;

/** A vector for each text. */
export const featureExtraction = defineTask({
  name: 'feature-extraction',
  input: 'text',
  result: 'vector',
  options: z
    .strictObject({
      pooling: z.enum(POOLINGS).optional(),
      normalize: z.boolean().optional(),
      dimensions: z.int().min(1).max(MOST_TERMS).optional(),
      prompt: storableText(limits.promptCharacters).optional(),
      /** In what the database keeps them. */
      vector_type: z.enum(['vector', 'halfvec', 'sparsevec']).optional(),
      /** Numbers kept of a sparse vector, the largest ones. */
      top_k: z.int().min(1).max(MOST_NUMBERS).optional(),
    })
    .superRefine(checkTogether),
  trial: {},
  defaultModel: 'all-MiniLM-L6-v2',
  advice: 'Choose a model that gives vectors, or name the task it is for',
  stated: {
    /** Numbers in a vector. */
    dimensions: z.int().positive(),
    pooling: z.enum(POOLINGS),
    normalize: z.boolean(),
    /** Put before a text, by its role; '' for nothing. */
    prompts: z.strictObject({ query: z.string(), passage: z.string() }),
  },
  claims: null,
  describe({ directory, config, stated }) {
    const sparse = stated ? null : readSparsePooling(directory, config);
    if (sparse) return sparseModel(directory, config, sparse);
    const own = stated ? null : readPooling(directory);
    const after = stated ? null : readAfterPooling(directory);
    const dimensions = stated?.dimensions ?? after?.dimensions ?? own?.dimensions ?? config.hidden_size;
    if (!dimensions) {
      throw new UserError(`${join(directory, 'config.json')} does not say how long the vectors are`, {
        hint: 'Add hidden_size to it, or a 1_Pooling/config.json with word_embedding_dimension',
      });
    }
    return {
      dimensions,
      pooling: stated?.pooling ?? own?.pooling ?? 'mean',
      steps: after?.steps ?? [],
      normalize: stated?.normalize ?? after?.normalize ?? false,
      prompts: stated?.prompts ?? readPrompts(directory),
    };
  },
  adapts: {},
  lacking: {},
  prepare: null,
});

/** Whether the options of a pipeline ask for sparse vectors. */
export function isSparse({ vector_type }: { readonly vector_type?: string | undefined }): boolean {
  return vector_type === 'sparsevec';
}

/** Options that do not go together. embedder.check_vector_options has the same rules. */
function checkTogether(options: Readonly<Record<string, unknown>>, context: z.RefinementCtx): void {
  const refuse = (option: string, message: string) => {
    if (options[option] !== undefined) context.addIssue({ code: 'custom', path: [option], message });
  };
  if (isSparse(options)) {
    for (const option of ['pooling', 'normalize']) refuse(option, 'is not for sparse vectors');
    return;
  }
  refuse('top_k', 'is for sparse vectors');
  if (Number(options.dimensions) > MOST_NUMBERS)
    refuse('dimensions', `dense vectors have up to ${MOST_NUMBERS}`);
}

/** A model with a number for each token of its vocabulary. Nothing is put behind its own pooling. */
function sparseModel(directory: string, { vocab_size: dimensions }: ModelConfig, sparse: SparsePooling) {
  if (!dimensions) {
    throw new UserError(`${join(directory, 'config.json')} does not say how long the vectors are`, {
      hint: 'Add vocab_size to it',
    });
  }
  const prompts = readPrompts(directory);
  return { dimensions, pooling: 'max' as const, steps: [], normalize: false, prompts, sparse };
}
