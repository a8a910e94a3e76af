import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.ts';
import { POOLINGS, type Pooling } from './description.ts';
import { readJsonFile } from './json-file.ts';

const configSchema = z.looseObject({
  architectures: z.array(z.string()).optional(),
  hidden_size: z.int().positive().optional(),
  vocab_size: z.int().positive().optional(),
  max_position_embeddings: z.int().positive().optional(),
  pad_token_id: z.int().nonnegative().nullish(),
  id2label: z.record(z.string(), z.string()).optional(),
  label2id: z.record(z.string(), z.number()).optional(),
  problem_type: z.string().nullish(),
});

/**
 * sentence-transformers' `1_Pooling/config.json`: exactly one of its `pooling_mode_*` fields is true or, in
 * newer versions, `pooling_mode` names it.
 */
const poolingSchema = z.looseObject({
  word_embedding_dimension: z.int().positive().optional(),
  embedding_dimension: z.int().positive().optional(),
  pooling_mode: z.union([z.string(), z.array(z.string())]).optional(),
  include_prompt: z.boolean().optional(),
});
const sentenceSchema = z.looseObject({
  max_seq_length: z.int().positive().nullish(),
  do_lower_case: z.boolean().nullish(),
});
const tokenizerConfigSchema = z.looseObject({ model_max_length: z.number().positive().nullish() });
const tokenizerSchema = z.looseObject({ padding: z.looseObject({ pad_id: z.int() }).nullish() });

export type ModelConfig = z.infer<typeof configSchema>;

/** The same for every file: missing is null, anything but the expected JSON is an error that names the file. */
export function readJson<T>(path: string, schema: z.ZodType<T>): T | null {
  const value = readJsonFile(path);
  if (value === undefined) {
    return null;
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new UserError(`${path} is not what it should be: ${issue?.path.join('.')}: ${issue?.message}`, {
      hint: 'Put the original file of the model there',
    });
  }
  return parsed.data;
}

/** `config.json` of a model. @throws UserError when it is missing or broken */
export function readModelConfig(directory: string): ModelConfig {
  const config = readJson(join(directory, 'config.json'), configSchema);
  if (!config) {
    throw new UserError(`${join(directory, 'config.json')} is missing`, {
      hint: 'A model folder holds config.json, tokenizer.json and onnx/model_quantized.onnx, as on a hub',
    });
  }
  return config;
}

/** sentence-transformers' name of a mode, in newer files and in older ones (`pooling_mode_*`), and what it is here. */
const POOLING_NAMES: Readonly<Record<string, Pooling>> = {
  mean: 'mean',
  mean_tokens: 'mean',
  cls: 'cls',
  cls_token: 'cls',
  lasttoken: 'last',
  max: 'max',
  max_tokens: 'max',
  mean_sqrt_len_tokens: 'mean_sqrt_len',
  weightedmean: 'weighted_mean',
  weightedmean_tokens: 'weighted_mean',
};

/**
 * The pooling that sentence-transformers would use: as `1_Pooling/config.json` says, and the mean without that file.
 * @throws UserError for a pooling that pgembedder does not have
 */
export function readPooling(directory: string): { pooling: Pooling; dimensions: number | null } {
  const path = join(directory, '1_Pooling', 'config.json');
  const config = readJson(path, poolingSchema);
  if (!config) {
    return { pooling: 'mean', dimensions: null };
  }
  const modes = poolingModes(config);
  const pooling = modes.length === 1 ? POOLING_NAMES[modes[0]!] : undefined;
  if (!pooling) {
    throw new UserError(`${path} asks for the pooling ${modes.join(' + ')}, which pgembedder does not have`, {
      hint: `Choose a model with one of ${POOLINGS.join(', ')}`,
    });
  }
  if (config.include_prompt === false) {
    throw new UserError(`${path} leaves the prompt out of the pooling, which pgembedder cannot do`, {
      hint: 'Choose a model whose include_prompt is true',
    });
  }
  return { pooling, dimensions: config.embedding_dimension ?? config.word_embedding_dimension ?? null };
}

/** The modes that a file names; of several, sentence-transformers joins the results. */
function poolingModes(config: z.infer<typeof poolingSchema>): string[] {
  if (config.pooling_mode !== undefined) {
    return [config.pooling_mode].flat();
  }
  const modes = Object.entries(config).filter(([key, value]) => key.startsWith(OLD_MODE) && value === true);
  return modes.length === 0 ? ['mean'] : modes.map(([key]) => key.slice(OLD_MODE.length));
}

const OLD_MODE = 'pooling_mode_';

/**
 * Tokens that count, special tokens included: `max_seq_length` of `sentence_bert_config.json`, else
 * `model_max_length` of `tokenizer_config.json`, else `max_position_embeddings` of `config.json`; never more than
 * the last, since the model has no positions beyond it.
 * @throws UserError when no file says it
 */
export function readMaxTokens(directory: string, config: ModelConfig): number {
  const sentence = readJson(join(directory, 'sentence_bert_config.json'), sentenceSchema);
  const tokenizer = readJson(join(directory, 'tokenizer_config.json'), tokenizerConfigSchema);
  const positions = config.max_position_embeddings ?? Number.POSITIVE_INFINITY;
  // transformers writes 1e30 for 'no limit known'; the minimum with the positions takes care of it.
  const stated = sentence?.max_seq_length ?? tokenizer?.model_max_length ?? positions;
  const maxTokens = Math.min(stated, positions);
  if (!Number.isSafeInteger(maxTokens)) {
    throw new UserError(`The model in ${directory} does not say how many tokens it takes`, {
      hint: 'Add {"max_seq_length": N} as sentence_bert_config.json',
    });
  }
  return maxTokens;
}

/** Whether sentence-transformers makes texts lower case before they are tokenized. */
export function readLowerCase(directory: string): boolean {
  return readJson(join(directory, 'sentence_bert_config.json'), sentenceSchema)?.do_lower_case ?? false;
}

/** The id of the padding token; 0 where no file says it, which is right for BERT and harmless under an attention mask. */
export function readPadTokenId(directory: string, config: ModelConfig): number {
  return (
    config.pad_token_id ?? readJson(join(directory, 'tokenizer.json'), tokenizerSchema)?.padding?.pad_id ?? 0
  );
}
