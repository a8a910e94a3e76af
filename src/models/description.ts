/** How the token vectors of a text become one: their mean, or the vector of the first token. */
export type Pooling = 'mean' | 'cls';

/** What a model puts before a text, by the text's role; '' for nothing. */
export interface Prompts {
  readonly query: string;
  readonly passage: string;
}

/** A feature-extraction model on this machine: where its files lie and how its vectors are made. */
export interface ModelDescription {
  /** The catalog name, else `ORG/NAME` or the name of the folder. */
  readonly name: string;
  readonly task: 'feature-extraction';
  /** Absolute path of the folder with `config.json` and `tokenizer.json`. */
  readonly directory: string;
  /** Absolute path of the ONNX file. */
  readonly onnxPath: string;
  /** SHA-256 of the ONNX file in lower-case hex, or null when the catalog does not know the model. */
  readonly expectedSha256: string | null;
  /** SPDX identifier, or null when the catalog does not know the model. */
  readonly licence: string | null;
  /** Numbers in a vector. */
  readonly dimensions: number;
  /** Tokens that count, special tokens included. */
  readonly maxTokens: number;
  readonly pooling: Pooling;
  /** Whether vectors are scaled to length 1. */
  readonly normalize: boolean;
  readonly prompts: Prompts;
  /** The token that fills the rows of a batch up to the same length. */
  readonly padTokenId: number;
}

/** What a model can be for; decided by its architecture. */
export type ModelTask =
  | 'feature-extraction'
  | 'text-classification'
  | 'zero-shot-classification'
  | 'token-classification';

/** A model that was found in a models folder; nothing but its `config.json` was read. */
export interface ModelListing {
  readonly name: string;
  /** Null when `config.json` cannot be read. */
  readonly task: ModelTask | null;
  readonly directory: string;
  /** True when it came with the package. */
  readonly bundled: boolean;
  readonly licence: string | null;
  /** Bytes of the ONNX file that would be loaded, or null when there is none. */
  readonly bytes: number | null;
}
