import { Command } from 'commander';
import type { Config } from '../config.ts';
import { UserError } from '../errors.ts';
import { EngineError } from '../inference/backend/engine-error.ts';
import type { TextEmbedder } from '../inference/text-embedder.ts';
import { givesVectors, type LabelModel } from '../model-files/description.ts';
import { DEFAULT_MODEL, defaultModel, type ModelChoice, parseChoice } from '../models/choice.ts';
import type { Entity, LabelResult } from '../tasks/results.ts';
import type { Task } from '../tasks/task.ts';
import { checkTaskOptions, type LabelTaskOptions } from '../tasks/task-options.ts';
import { DEFAULT_TASK, labelTaskFor, labelTasks, modelSetting } from '../tasks/tasks.ts';
import { addDeviceOption, type DeviceOptions, openDevice, withEmbedder } from './embedder.ts';
import { readEnvironment } from './environment.ts';
import { UsageError } from './errors.ts';
import { oneLine, shortFloat } from './format.ts';
import { colours, print, printJson } from './output.ts';
import { readText } from './read-text.ts';
import { answerLines, requireOneInput, STDIN_FLAG } from './stdin-lines.ts';
import { formatTable } from './table.ts';

interface ClassifyOptions extends DeviceOptions {
  model?: string;
  labels?: string[];
  label?: string[];
  hypothesisTemplate?: string;
  multiLabel?: boolean;
  topK?: number;
  aggregationStrategy?: string;
  stdin?: boolean;
  json?: boolean;
}

/** `pgembedder classify` */
export function classifyCommand(): Command {
  const command = new Command('classify')
    .description("print a text's labels, or its entities, by a model for such a task; needs no database")
    .argument('[text]', 'the text; - reads it from stdin')
    .option('--stdin', STDIN_FLAG)
    .option(
      '--model <name>',
      `ORG/NAME of a classification model, or with labels one that gives vectors; with :variant for one of its variants (default: PGEMBEDDER_MODEL_<TASK>, with labels else ${DEFAULT_MODEL})`,
    )
    .option('--labels <a,b>', 'zero-shot: the labels to choose from', splitLabels)
    .option('--label <label>', 'zero-shot: one label, which may hold commas; can be repeated', collect)
    .option(
      '--hypothesis-template <text>',
      "zero-shot: the sentence that is tried, such as 'It is about {}.'",
    )
    .option('--multi-label', 'several labels may hold: each has a score of its own')
    .option('--top-k <count>', 'how many labels to print', Number)
    .option('--aggregation-strategy <name>', 'entities: none, simple (default), first, average or max')
    .option('--json', 'print model, task, label, score and detail as JSON')
    .addHelpText(
      'after',
      `\nExample:\n  $ pgembedder classify "the match ended in a draw" --labels sport,politics`,
    )
    .action(run);
  return addDeviceOption(command);
}

function splitLabels(text: string): string[] {
  return text
    .split(',')
    .map((label) => label.trim())
    .filter((label) => label !== '');
}

function collect(label: string, before: string[] = []): string[] {
  return [...before, label];
}

async function run(text: string | undefined, options: ClassifyOptions): Promise<void> {
  requireOneInput(text, options.stdin, 'text');
  const environment = readEnvironment();
  const device = await openDevice(environment, options);
  await withEmbedder(environment, device, async (embedder) => {
    const choice =
      options.model === undefined ? standardModel(environment.config, options) : parseChoice(options.model);
    const model = findModel(embedder, choice, options);
    const taskOptions = taskOptionsOf(model, options);
    if (text === undefined)
      return answerLines(async (texts) =>
        (await embedder.labelTexts(model, texts, taskOptions)).map((result) =>
          result instanceof EngineError ? result : roundScores(result),
        ),
      );
    const [result] = await embedder.labelTexts(model, [await readText(text)], taskOptions);
    if (result instanceof EngineError) throw result;
    const rounded = roundScores(result!);
    if (options.json) printJson({ model: model.name, task: model.task, ...rounded });
    else for (const line of formatResult(rounded)) print(line);
  });
}

/** The model that the settings name for the task to which the flags belong. */
function standardModel(config: Config, options: ClassifyOptions): ModelChoice {
  const task = taskOfFlags(options);
  const choice = defaultModel(config, task.name);
  if (choice) return choice;
  if (DEFAULT_TASK in task.adapts) return { name: DEFAULT_MODEL };
  throw new UsageError(`no model for ${task.name} is named`, {
    hint: `Give --model ORG/NAME, or set ${modelSetting(task.name)}`,
  });
}

/** The task that has most of the options that the flags give, the first of equals. */
function taskOfFlags(options: ClassifyOptions): Task {
  const given = Object.entries(optionsOf(options)).filter(([, value]) => value !== undefined);
  const known = ({ options: { shape } }: Task) => given.filter(([name]) => name in shape).length;
  return labelTasks.reduce((best, task) => (known(task) > known(best) ? task : best));
}

/** The model, for its own task; or, when it gives vectors and labels are named, for choosing the nearest label. */
function findModel(
  embedder: TextEmbedder,
  { name, variant }: ModelChoice,
  options: ClassifyOptions,
): LabelModel {
  const model = embedder.find(name, undefined, { variant });
  if (!givesVectors(model) || labelsOf(options).length > 0)
    return embedder.find(name, labelTaskFor(model.task), { variant });
  throw new UserError(`Model '${model.name}' is for ${model.task} and gives no labels`, {
    hint: 'Name the labels to choose from with --labels; pgembedder embed prints its vectors',
  });
}

function labelsOf({ labels = [], label = [] }: ClassifyOptions): string[] {
  return [...labels, ...label];
}

/** The flags as options, whatever the task. */
function optionsOf(options: ClassifyOptions) {
  const labels = labelsOf(options);
  return {
    labels: labels.length > 0 ? labels : undefined,
    hypothesis_template: options.hypothesisTemplate,
    multi_label: options.multiLabel,
    top_k: options.topK,
    aggregation_strategy: options.aggregationStrategy,
  };
}

/** The flags as the task's options; flags that the task does not take are wrong use. */
function taskOptionsOf({ task }: LabelModel, options: ClassifyOptions): LabelTaskOptions {
  try {
    return checkTaskOptions(task, optionsOf(options));
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UsageError(error.message, {
      cause: error,
      ...(error.hint !== undefined && { hint: error.hint }),
    });
  }
}

/** Scores with as many digits as PostgreSQL's real has. */
function roundScores({ label, score, detail }: LabelResult): LabelResult {
  return {
    label,
    score: score === null ? null : shortFloat(score),
    detail: isEntities(detail)
      ? detail.map((entity) => ({ ...entity, score: shortFloat(entity.score) }))
      : Object.fromEntries(Object.entries(detail).map(([name, each]) => [name, shortFloat(each)])),
  };
}

function isEntities(detail: LabelResult['detail']): detail is readonly Entity[] {
  return Array.isArray(detail);
}

/** The result as a table for people. */
export function formatResult({ detail }: LabelResult): string[] {
  if (isEntities(detail)) {
    if (detail.length === 0) return ['No entities.'];
    return formatTable(detail, [
      { title: 'start', align: 'right', text: ({ start }) => String(start) },
      { title: 'end', align: 'right', text: ({ end }) => String(end) },
      {
        title: 'entity',
        text: (each) => ('entity' in each ? each.entity : each.entity_group),
        paint: (shown) => colours.cyan(shown),
      },
      { title: 'score', align: 'right', text: ({ score }) => score.toFixed(4) },
      { title: 'word', text: ({ word }) => oneLine(word, 80) },
    ]);
  }
  return formatTable(Object.entries(detail), [
    { title: 'score', align: 'right', text: ([, score]) => score.toFixed(4) },
    { title: 'label', text: ([label]) => oneLine(label, 80), paint: (shown) => colours.cyan(shown) },
  ]);
}
