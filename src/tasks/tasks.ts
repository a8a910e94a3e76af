import { UserError } from '../errors.ts';
import type {
  LabelModel,
  LocalModel,
  LogitsModel,
  ModelFiles,
  ModelTraits,
  VectorModel,
} from '../model-files/description.ts';
import type { ModelConfig } from '../model-files/model-folder.ts';
import { didYouMean } from '../nearest.ts';
import { table } from './table.ts';
import type { ResultKind, Task } from './task.ts';

/** The name of a task. */
export type TaskName = (typeof table)[number]['name'];

/** The task of this name. */
export type TaskNamed<Name extends TaskName> = Extract<(typeof table)[number], { name: Name }>;

/** The names of the tasks with this kind of result. */
export type TaskGiving<Result extends ResultKind> = Extract<
  (typeof table)[number],
  { result: Result }
>['name'];

/** The tasks, in the order in which they are shown. */
export const tasks: readonly Task[] = table;

/** That of a pipeline that names none. */
export const DEFAULT_TASK: TaskName = table[0].name;

/** Whether this is the name of a task. */
export function isTask(text: string): text is TaskName {
  return tasks.some(({ name }) => name === text);
}

/** @throws UserError when there is no such task */
export function taskNamed(name: string): Task {
  const task = tasks.find((each) => each.name === name);
  if (task) return task;
  const names = tasks.map((each) => each.name);
  throw new UserError(`There is no task '${name}'`, {
    hint: `${didYouMean(name, names)}Use one of ${names.join(', ')}`,
  });
}

/** What a model is for, by its `config.json`. */
export function taskOf(config: ModelConfig): Task {
  return tasks.find(({ claims }) => claims?.(config)) ?? tasks.find(({ claims }) => claims === null)!;
}

/** The tasks that label texts, or parts of them. */
export const labelTasks: readonly Task[] = tasks.filter(
  ({ result }) => result === 'labels' || result === 'spans',
);

/** The task that labels texts with a model for this one: itself where it labels. @throws UserError when there is none */
export function labelTaskFor(task: string): LabelTaskName {
  const found =
    labelTasks.find(({ name }) => name === task) ?? labelTasks.find(({ adapts }) => task in adapts);
  if (!found) throw new UserError(`Models for ${task} give no labels`);
  return found.name as LabelTaskName;
}
type LabelTaskName = TaskGiving<'labels' | 'spans'>;

/** A model that gives logits, as the task labels with it that is its own, or takes it as well. @throws UserError */
export function asLabelModel(model: LogitsModel): LogitsModel {
  const { adapts } = taskNamed(labelTaskFor(model.task));
  return (adapts[model.task]?.(model as LogitsModel & ModelFiles) as LogitsModel | undefined) ?? model;
}

/** The setting that names a task's model. */
export function modelSetting(task: string): ModelSetting {
  return `PGEMBEDDER_MODEL_${task.toUpperCase().replaceAll('-', '_')}`;
}
export type ModelSetting = `PGEMBEDDER_MODEL_${string}`;

/** A model on this machine for this task. */
export type ModelOf<Name extends TaskName> =
  | (ModelTraits & ModelFiles & ReturnType<TaskNamed<Name>['describe']>)
  | Adapted<TaskNamed<Name>['adapts']>;
type Adapted<Adapts> =
  Adapts extends Readonly<Record<string, (model: LocalModel) => infer Model>> ? Model : never;

/** A model for this task, wherever it runs. */
export type ServedModelOf<Name extends TaskName> =
  Name extends TaskGiving<'vector'>
    ? VectorModel
    : Name extends TaskGiving<'score'>
      ? LogitsModel
      : LabelModel;
