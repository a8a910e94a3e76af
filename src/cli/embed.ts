import { Command } from 'commander';
import { EngineError } from '../inference/backend/engine-error.ts';
import type { Embedder } from '../inference/embedder.ts';
import type { VectorModel } from '../model-files/description.ts';
import { DEFAULT_MODEL, defaultModel, parseChoice } from '../models/choice.ts';
import { sparseText } from '../sparse-vector.ts';
import { featureExtraction } from '../tasks/feature-extraction.ts';
import { addDeviceOption, type DeviceOptions, openDevice, withEmbedder } from './embedder.ts';
import { readEnvironment } from './environment.ts';
import { shortFloat } from './format.ts';
import { print, printJson } from './output.ts';
import { readText } from './read-text.ts';
import { answerLines, requireOneInput, STDIN_FLAG } from './stdin-lines.ts';

interface EmbedOptions extends DeviceOptions {
  model?: string;
  query?: boolean;
  stdin?: boolean;
  json?: boolean;
}

/** `pgembedder embed` */
export function embedCommand(): Command {
  const command = new Command('embed')
    .description("print a text's vector, as pgvector takes it; needs no database")
    .argument('[text]', 'the text; - reads it from stdin')
    .option('--stdin', STDIN_FLAG)
    .option(
      '--model <name>',
      `a catalog name or ORG/NAME, with :variant for one of its variants (default: ${DEFAULT_MODEL}, or PGEMBEDDER_MODEL_FEATURE_EXTRACTION)`,
    )
    .option('--query', "embed it as a query: with the model's prompt for queries, where it has one")
    .option(
      '--json',
      'print model, dimensions and vector as JSON; of a sparse vector indices, from 0, and values',
    )
    .addHelpText('after', `\nExample:\n  $ pgembedder embed "a small cat" | psql -c "..."`)
    .action(run);
  return addDeviceOption(command);
}

async function run(text: string | undefined, options: EmbedOptions): Promise<void> {
  requireOneInput(text, options.stdin, 'text');
  const environment = readEnvironment();
  const { name, variant } =
    options.model === undefined
      ? defaultModel(environment.config, featureExtraction.name)!
      : parseChoice(options.model);
  const device = await openDevice(environment, options);
  await withEmbedder(environment, device, async (embedder) => {
    const model = embedder.find(name, featureExtraction.name, { variant });
    const prompt = options.query ? model.prompts.query : model.prompts.passage;
    const shownOf = model.sparse ? sparseVectors : denseVectors;
    if (text === undefined) {
      return answerLines(async (texts) =>
        (await shownOf(embedder, model, texts, prompt)).map((vector) =>
          vector instanceof EngineError ? vector : vector.fields,
        ),
      );
    }
    const [vector] = await shownOf(embedder, model, [await readText(text)], prompt);
    if (vector instanceof EngineError) throw vector;
    if (options.json) printJson({ model: model.name, dimensions: vector!.dimensions, ...vector!.fields });
    else print(vector!.text);
  });
}

/** A vector as it is printed: pgvector's own text, or fields of a JSON object. */
interface ShownVector {
  readonly dimensions: number;
  readonly text: string;
  readonly fields: object;
}

type ShownVectors = (
  embedder: Embedder,
  model: VectorModel,
  texts: readonly string[],
  prompt: string,
) => Promise<(ShownVector | EngineError)[]>;

const denseVectors: ShownVectors = async (embedder, model, texts, prompt) =>
  (await embedder.embedTexts(model, texts, { prompt })).map((vector) => {
    if (vector instanceof EngineError) return vector;
    const numbers = Array.from(vector, shortFloat);
    return { dimensions: numbers.length, text: `[${numbers.join(',')}]`, fields: { vector: numbers } };
  });

const sparseVectors: ShownVectors = async (embedder, model, texts, prompt) =>
  (await embedder.embedSparse(model, texts, { prompt })).map((vector) => {
    if (vector instanceof EngineError) return vector;
    const fields = { indices: Array.from(vector.indices), values: Array.from(vector.values, shortFloat) };
    return { dimensions: vector.dimensions, text: sparseText(vector, shortFloat), fields };
  });
