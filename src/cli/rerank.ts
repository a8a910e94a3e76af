import { Command } from 'commander';
import { EngineError } from '../inference/backend/engine-error.ts';
import { defaultModel, parseChoice } from '../models/choice.ts';
import { modelSetting } from '../tasks/tasks.ts';
import { textRanking } from '../tasks/text-ranking.ts';
import { addDeviceOption, type DeviceOptions, openDevice, withEmbedder } from './embedder.ts';
import { readEnvironment } from './environment.ts';
import { UsageError } from './errors.ts';
import { oneLine, shortFloat } from './format.ts';
import { print, printJson } from './output.ts';
import { answerLines, requireOneInput, STDIN_FLAG } from './stdin-lines.ts';
import { formatTable } from './table.ts';

interface RerankOptions extends DeviceOptions {
  model?: string;
  rawScores?: boolean;
  stdin?: boolean;
  json?: boolean;
}

/** `pgembedder rerank` */
export function rerankCommand(): Command {
  const command = new Command('rerank')
    .description(
      'print texts in the order of how well they answer a query, by a model that ranks; needs no database',
    )
    .argument('<query>', 'what is asked')
    .argument('[texts...]', 'the texts')
    .option('--stdin', `${STDIN_FLAG}, each with its score`)
    .option(
      '--model <name>',
      `ORG/NAME of a cross-encoder, with :variant for one of its variants (default: ${modelSetting(textRanking.name)})`,
    )
    .option('--raw-scores', "the model's own numbers, without bounds")
    .option('--json', 'print model and texts, each with its place and score, as JSON')
    .addHelpText(
      'after',
      `\nExample:\n  $ pgembedder rerank "how do I get my money back" "refunds take three days" "the office is closed" --model Xenova/ms-marco-MiniLM-L-6-v2`,
    )
    .action(run);
  return addDeviceOption(command);
}

async function run(query: string, texts: string[], options: RerankOptions): Promise<void> {
  requireOneInput(texts, options.stdin, 'texts');
  const environment = readEnvironment();
  const choice =
    options.model === undefined
      ? defaultModel(environment.config, textRanking.name)
      : parseChoice(options.model);
  if (!choice) {
    throw new UsageError(`no model for ${textRanking.name} is named`, {
      hint: `Give --model ORG/NAME, or set ${modelSetting(textRanking.name)}`,
    });
  }
  const device = await openDevice(environment, options);
  await withEmbedder(environment, device, async (embedder) => {
    const model = embedder.find(choice.name, textRanking.name, { variant: choice.variant });
    const rank = (some: readonly string[]) =>
      embedder.rankTexts(model, query, some, { raw_scores: options.rawScores });
    if (options.stdin)
      return answerLines(async (lines) =>
        (await rank(lines)).map((score) =>
          score instanceof EngineError ? score : { score: shortFloat(score) },
        ),
      );
    const results = await rank(texts);
    const scored = results.map((score, index) => {
      if (score instanceof EngineError) throw score;
      // Places count from 1, as in SQL.
      return { place: index + 1, score: shortFloat(score), text: texts[index]! };
    });
    const ranked = scored.sort((a, b) => b.score - a.score);
    if (options.json) return printJson({ model: model.name, texts: ranked });
    for (const line of formatTable(ranked, [
      { title: 'score', align: 'right', text: ({ score }) => score.toFixed(4) },
      { title: 'place', align: 'right', text: ({ place }) => String(place) },
      { title: 'text', text: ({ text }) => oneLine(text, 80) },
    ]))
      print(line);
  });
}
