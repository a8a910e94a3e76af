import { type Endpoint, type ListedModel, modelName } from '../../endpoints/endpoint.ts';
import type { VectorModel } from '../../model-files/description.ts';
import { featureExtraction } from '../../tasks/feature-extraction.ts';

/** A model that a server elsewhere runs. */
export interface EndpointModel extends VectorModel {
  readonly endpoint: Endpoint;
  /** Its name there. */
  readonly nameThere: string;
  /** Folder of its tokenizer, where it is on this machine too. */
  readonly tokenizer: string | undefined;
}

export function describeModel(endpoint: Endpoint, listed: ListedModel): EndpointModel {
  const { dimensions, max_tokens, prompts, tokenizer, name } = listed;
  return {
    ...{ endpoint, dimensions, prompts, tokenizer, nameThere: name, maxTokens: max_tokens },
    ...{ name: modelName(endpoint, listed), task: featureExtraction.name, licence: null },
  };
}
