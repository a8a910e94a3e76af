import { Command } from 'commander';
import { type Endpoint, modelName } from '../endpoints/endpoint.ts';
import { dimensionsOf, type ModelListing } from '../model-files/description.ts';
import { catalog } from '../models/catalog.ts';
import type { ModelStore } from '../models/store.ts';
import { featureExtraction } from '../tasks/feature-extraction.ts';
import { readEnvironment } from './environment.ts';
import { formatBytes } from './format.ts';
import { colours, print, printJson } from './output.ts';
import { formatTable } from './table.ts';

/** One model, here or in the catalog. */
interface Listed {
  name: string;
  task: string | null;
  dimensions: number | null;
  variants: readonly string[];
  /** For a model that is not here: about the size of its int8 variant. */
  bytes: number | null;
  licence: string | null;
  /** The folder it lies in; null for a model that is not here. */
  directory: string | null;
  /** The address of the server that runs it; null for a model on this machine and one of the catalog. */
  endpoint: string | null;
  bundled: boolean;
}

/** `pgembedder models list` */
export function modelsListCommand(): Command {
  return new Command('list')
    .description('list the models that are here, at endpoints, and in the catalog to be pulled')
    .option('--json', 'print them as JSON')
    .addHelpText('after', '\nExample:\n  $ pgembedder models list')
    .action(run);
}

function run(options: { json?: boolean }): void {
  const { store, endpoints } = readEnvironment();
  const models = listModels(store, endpoints);
  if (options.json) printJson(models);
  else for (const line of formatModels(models)) print(line);
}

function listModels(store: ModelStore, endpoints: readonly Endpoint[]): Listed[] {
  const here = store.list().map((model) => ({
    name: model.name,
    task: model.task,
    dimensions: dimensionsHere(store, model),
    variants: model.variants,
    bytes: model.bytes,
    licence: model.licence,
    directory: model.directory,
    bundled: model.bundled,
    endpoint: null,
  }));
  const elsewhere = endpoints.flatMap((endpoint) =>
    endpoint.models.map((model) => ({
      name: modelName(endpoint, model),
      task: featureExtraction.name,
      dimensions: model.dimensions,
      variants: [],
      bytes: null,
      licence: null,
      directory: null,
      bundled: false,
      endpoint: endpoint.url,
    })),
  );
  const others = catalog()
    .filter((entry) => !here.some(({ name }) => name === entry.name))
    .map((entry) => ({
      name: entry.name,
      task: entry.task,
      dimensions: dimensionsOf(entry),
      variants: [],
      bytes: entry.parameters,
      licence: entry.licence,
      directory: null,
      bundled: false,
      endpoint: null,
    }));
  return [...here, ...elsewhere, ...others];
}

/** Null also for a model that cannot be used; `models check` says why. */
function dimensionsHere(store: ModelStore, { name }: ModelListing): number | null {
  try {
    return dimensionsOf(store.find(name));
  } catch {
    return null;
  }
}

/** The models as a table for people. */
export function formatModels(models: readonly Listed[]): string[] {
  return formatTable(models, [
    {
      title: 'model',
      text: ({ name }) => name,
      paint: (text, model) => (isUsable(model) ? colours.bold(text) : colours.dim(text)),
    },
    { title: 'task', text: ({ task }) => task ?? '?' },
    { title: 'dims', align: 'right', text: ({ dimensions }) => dimensions?.toString() ?? '' },
    { title: 'variants', text: ({ variants }) => variants.join(', ') },
    { title: 'size', align: 'right', text: sizeOf },
    { title: 'licence', text: ({ licence }) => licence ?? '?' },
    {
      title: 'where',
      text: whereOf,
      paint: (text, model) => (isUsable(model) ? text : colours.dim(text)),
    },
  ]);
}

function isUsable({ directory, endpoint }: Listed): boolean {
  return directory !== null || endpoint !== null;
}

function whereOf({ directory, bundled, endpoint }: Listed): string {
  if (endpoint !== null) return endpoint;
  if (directory === null) return 'to be pulled';
  return bundled ? 'comes with pgembedder' : directory;
}

/** For a model that is not here it is known to the million bytes. */
function sizeOf({ bytes, directory }: Listed): string {
  if (bytes === null) return '';
  return directory === null ? `~${Math.round(bytes / 1e6)} MB` : formatBytes(bytes);
}
