import type { Api } from '../../../endpoints/endpoint.ts';
import type { EndpointApi } from './api.ts';
import { ollama } from './ollama.ts';
import { openai } from './openai.ts';
import { tei } from './tei.ts';

/** The kinds of servers, by the name that an operator writes. */
export const apis: Readonly<Record<Api, EndpointApi>> = { openai, tei, ollama };
