import type { Variant } from './variants.ts';

/**
 * How the token vectors of a text become one vector, padding left out: their mean, the vector of the first or of the last
 * token, the largest number in each dimension, their sum divided by the square root of their number, or their mean
 * weighted by the tokens' places (1, 2, 3, ...). The modes of sentence-transformers.
 */
export const POOLINGS = ['mean', 'cls', 'last', 'max', 'mean_sqrt_len', 'weighted_mean'] as const;
export type Pooling = (typeof POOLINGS)[number];

/** What a model puts before a text, by the text's role; '' for nothing. */
export interface Prompts {
  readonly query: string;
  readonly passage: string;
}

/** What is known of every model, wherever it runs. */
export interface ModelTraits {
  /** The task that it is for, by its name in src/tasks/. */
  readonly task: string;
  /** The catalog name, else `ORG/NAME` or the name of the folder. */
  readonly name: string;
  /** SPDX identifier, or null when the catalog does not know the model. */
  readonly licence: string | null;
  /** Tokens that count, special tokens included. */
  readonly maxTokens: number;
}

/** Where the files of a model lie on this machine, and how they are used. */
export interface ModelFiles {
  /** Absolute path of the folder with `config.json` and `tokenizer.json`. */
  readonly directory: string;
  /** The precision of the ONNX file. */
  readonly variant: Variant;
  /** Absolute path of the ONNX file. */
  readonly onnxPath: string;
  /** SHA-256 of the ONNX file in lower-case hex, or null when neither the lock file nor the catalog says. */
  readonly expectedSha256: string | null;
  /** The token that fills the sequences of a batch up to the same length. */
  readonly padTokenId: number;
}

/** Numbers of a sparse vector in the place of a logit: ln(1 + relu(x)), or ln(1 + ln(1 + relu(x))). sentence-transformers' names. */
export const SPARSE_ACTIVATIONS = ['relu', 'log1p_relu'] as const;
/** How those of a text's tokens become one: the largest, or their sum. */
export const SPARSE_POOLINGS = ['max', 'sum'] as const;

/**
 * How a masked language model gives a sparse vector: a number for each token of its vocabulary, most of them 0. SPLADE
 * (Formal et al. 2021), as sentence-transformers' SpladePooling computes it.
 */
export interface SparsePooling {
  readonly activation: (typeof SPARSE_ACTIVATIONS)[number];
  readonly pooling: (typeof SPARSE_POOLINGS)[number];
}

/** A model that gives a vector for a text. */
export interface VectorModel extends ModelTraits {
  /** Numbers in a vector; of a sparse one, those that are 0 included. */
  readonly dimensions: number;
  readonly prompts: Prompts;
  /** Only where its vectors are sparse. */
  readonly sparse?: SparsePooling | undefined;
}

/** A model that gives logits: numbers without bounds, one for each label, that become scores. */
export interface LogitsModel extends ModelTraits {
  /** Whether a set of them is of a whole sequence or of one of its tokens. */
  readonly output: 'sequence-logits' | 'token-logits';
  /** The labels in the order of the logits. */
  readonly labels: readonly string[];
}

/** A model that gives vectors, taken to tell which label's sentence is nearest to a text. */
export interface SimilarityModel extends ModelTraits {
  readonly vectors: VectorModel;
}

/** A model that gives labels for a text, or for parts of it. */
export type LabelModel = LogitsModel | SimilarityModel;

/** A model that a backend runs as it is. */
export type RunnableModel = VectorModel | LogitsModel;

/** A model with its task, whatever runs it. */
export type ServedModel = VectorModel | LabelModel;

/** Activations of a Dense module, by the names of their classes in torch. */
export const ACTIVATIONS = ['Identity', 'Tanh', 'ReLU', 'Sigmoid', 'SiLU'] as const;

/** What is done with a vector behind the pooling, as sentence-transformers' modules of these names do it. */
export type VectorStep =
  | {
      readonly kind: 'dense';
      /** Absolute path of the weights. */
      readonly path: string;
      readonly input: number;
      readonly output: number;
      readonly activation: (typeof ACTIVATIONS)[number];
    }
  | { readonly kind: 'layer_norm'; readonly path: string; readonly size: number }
  | { readonly kind: 'normalize' };

/** A model on this machine that gives a vector for a text. */
export interface FeatureExtractionModel extends VectorModel, ModelFiles {
  readonly pooling: Pooling;
  /** Behind the pooling, in their order; before the scaling. */
  readonly steps: readonly VectorStep[];
  /** Whether vectors are scaled to length 1. */
  readonly normalize: boolean;
}

/** A model on this machine that is run as it is. */
export type LocalModel = FeatureExtractionModel | (LogitsModel & ModelFiles);

/** A model on this machine and how its results are made. */
export type ModelDescription = LocalModel | (SimilarityModel & { readonly vectors: FeatureExtractionModel });

/** Whether a model runs on this machine, from its files. */
export function isOnThisMachine(model: ServedModel): boolean {
  return 'directory' in ('vectors' in model ? model.vectors : model);
}

/** Whether a model gives vectors. */
export function givesVectors<Model extends ServedModel>(model: Model): model is Extract<Model, VectorModel> {
  return 'dimensions' in model;
}

/** Whether a model gives sparse vectors. */
export function givesSparse(model: ServedModel): boolean {
  return givesVectors(model) && model.sparse !== undefined;
}

/** Numbers in a vector of a model; null for a model that gives none. */
export function dimensionsOf(model: object): number | null {
  return 'dimensions' in model ? (model.dimensions as number) : null;
}

/** Which variant of a model is wanted. */
export interface FindOptions {
  /** This variant. Default: the pinned one, else the first in the order of preference that is there. */
  readonly variant?: Variant | undefined;
}

/** A model that was found in a models folder; nothing but its `config.json` was read. */
export interface ModelListing {
  readonly name: string;
  /** Null when `config.json` cannot be read. */
  readonly task: string | null;
  readonly directory: string;
  /** True when it came with the package. */
  readonly bundled: boolean;
  readonly licence: string | null;
  /** The variants that are there, the one that would be loaded first. */
  readonly variants: readonly Variant[];
  /** Bytes of the ONNX file that would be loaded and of its external data, or null when there is none. */
  readonly bytes: number | null;
}
