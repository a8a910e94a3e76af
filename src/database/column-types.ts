/** What a pipeline does with its texts. */
export type PipelineTask =
  | 'feature-extraction'
  | 'text-classification'
  | 'zero-shot-classification'
  | 'token-classification';

/** The options of a pipeline's task, as embedder.create_pipeline has checked them. */
export interface PipelineOptions {
  pooling?: 'mean' | 'cls' | 'last' | 'max' | 'mean_sqrt_len' | 'weighted_mean';
  normalize?: boolean;
  prompt?: string;
  dimensions?: number;
  vector_type?: 'vector' | 'halfvec';
  top_k?: number;
  labels?: string[];
  hypothesis_template?: string;
  multi_label?: boolean;
  aggregation_strategy?: 'none' | 'simple' | 'first' | 'average' | 'max';
}

/** How a pipeline is, as embedder.status says it. */
export type PipelineState = 'paused' | 'error' | 'filling' | 'live';
