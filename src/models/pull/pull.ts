import pRetry from 'p-retry';
import { readModules } from '../../model-files/sentence-transformers.ts';
import type { Variant } from '../../model-files/variants.ts';
import { type LockedModel, readLock, writeLock } from '../lock.ts';
import { catalogSums, expectKnown, isComplete, missingFrom, requireOwn, sumsOf } from './expectations.ts';
import { PullError } from './pull-error.ts';
import { selectFiles } from './select-files.ts';
import type { ModelSource, SourceFile } from './source.ts';
import { Staging } from './staging.ts';

/** How often a pull tries again without any progress before it gives up; each wait is twice the one before. */
const RETRIES = 5;
const FIRST_WAIT_MS = 1_000;
/** The longest wait that a hub may ask for. */
const WAIT_LIMIT_MS = 60_000;

/** What a pull tells while it goes on. */
export interface PullReport {
  /** It is known what is to be fetched, and how much of it is here already. */
  plan(files: readonly SourceFile[], bytesHere: number): void;
  /** How much of a file is here. */
  progress(path: string, bytes: number): void;
  /** A file is here, and its sums are right. */
  done(path: string, bytes: number): void;
  /** An attempt has failed; another one follows. */
  retry(reason: string): void;
}

/** What is to be pulled, and where to. */
export interface PullOptions {
  /** The models folder. The caller holds it by `exclusively`. */
  readonly directory: string;
  /** ORG/NAME, or the name of a folder. */
  readonly name: string;
  /** Where from; null offline. */
  readonly source: ModelSource | null;
  /** The folder that is copied, for the lock file. */
  readonly from?: string | undefined;
  /** Default: the locked commit, else `main`. */
  readonly revision?: string | undefined;
  /** Whether to take the newest commit of the revision instead of the locked one. */
  readonly update?: boolean | undefined;
  /** Default: the locked ones, else the first of `order` that the source has. */
  readonly variant?: Variant | undefined;
  readonly order: readonly Variant[];
  readonly report: PullReport;
  readonly signal?: AbortSignal | undefined;
  /** The wait before the second attempt, in milliseconds. Default: 1,000. */
  readonly firstWaitMs?: number | undefined;
}

/** What a pull came to. */
export interface PullResult {
  readonly name: string;
  readonly directory: string;
  readonly commit: string | null;
  readonly variants: readonly Variant[];
  /** Files that were fetched; none when all were here. */
  readonly fetched: number;
}

/**
 * Brings a model into a models folder, verified, and notes in the lock file what it is. A model that is locked stays
 * at its commit, as a package does, unless a revision is named or an update asked for; where all its files are here,
 * and right, the source is not asked at all. The next pull uses what an interrupted one has left.
 * @throws PullError, or UserError for a model that pgembedder cannot run
 */
export async function pullModel(options: PullOptions): Promise<PullResult> {
  const { directory, name, source, update = false } = options;
  const lock = readLock(directory);
  const locked = lock[name];
  const pinned = locked && options.revision === undefined && !update ? locked : undefined;
  const staging = new Staging(directory, name);
  await staging.recover();
  const variants = [...new Set([...(locked?.variants ?? []), ...(options.variant ? [options.variant] : [])])];
  if (pinned && variants.length === pinned.variants.length && (await isComplete(staging.target, pinned)))
    return { name, directory: staging.target, commit: pinned.commit, variants, fetched: 0 };
  if (!source) {
    throw new PullError(`${name} is not here as it should be, and nothing is fetched offline`, {
      hint: 'Unset PGEMBEDDER_OFFLINE and HF_HUB_OFFLINE, or copy the model here: pgembedder models pull FOLDER',
    });
  }
  const again: Again = (attempt) => withRetries(options, attempt);
  const revision = options.revision ?? locked?.revision ?? 'main';
  const { commit, files } = await again(() => source.snapshot(name, pinned?.commit ?? revision));
  const selection = selectFiles(name, files, variants.length > 0 ? variants : null, options.order);
  // A revision that the caller names is taken as it is; otherwise a catalog model has to match the catalog.
  const known = options.revision === undefined ? (pinned?.files ?? catalogSums(name)) : {};
  const wanted: SourceFile[] = [];
  for (const file of selection.files) {
    const complete = await again(() => source.complete(name, commit, file));
    wanted.push(expectKnown(name, complete, known[file.path], pinned ? 'lock file' : 'catalog'));
  }
  const missing = await missingFrom(staging.target, wanted);
  const sameCommit = commit !== null && locked?.commit === commit;
  if (!locked) requireOwn(staging.target, missing);
  await fetchAll(options, source, staging, commit, missing, again);
  if (missing.length > 0) {
    const kept = wanted.filter((file) => !missing.includes(file)).map(({ path }) => path);
    if (sameCommit || !locked) await staging.addToTarget(missing);
    else await staging.replaceTarget(missing, kept);
  }
  const entry: LockedModel = {
    revision: options.from === undefined ? revision : null,
    commit,
    ...(options.from === undefined ? {} : { from: options.from }),
    variants: [...selection.variants],
    pulled_at: new Date().toISOString(),
    files: await sumsOf(staging.target, wanted),
  };
  await writeLock(directory, { ...lock, [name]: entry });
  return { name, directory: staging.target, commit, variants: selection.variants, fetched: missing.length };
}

async function fetchAll(
  options: PullOptions,
  source: ModelSource,
  staging: Staging,
  commit: string | null,
  files: readonly SourceFile[],
  again: Again,
): Promise<void> {
  const { name, report, signal } = options;
  let here = 0;
  for (const file of files) here += await staging.has(file);
  report.plan(files, here);
  for (const file of files) {
    let most = await staging.has(file);
    const { path, digest } = await again((advance) =>
      staging.fetch(source, name, commit, file, (bytes) => {
        signal?.throwIfAborted();
        report.progress(file.path, bytes);
        if (bytes > most) advance();
        most = Math.max(most, bytes);
      }),
    );
    // Before the weights are fetched: a model with a step that pgembedder does not have is of no use.
    if (file.path === 'modules.json') await requireModules(path, name, staging);
    report.done(file.path, digest.bytes);
  }
}

async function requireModules(path: string, name: string, staging: Staging): Promise<void> {
  try {
    readModules(path, `modules.json of ${name}`);
  } catch (error) {
    await staging.clear();
    throw error;
  }
}

/** Does something, and tries again after a passing error. A call of `advance` says that there was progress. */
type Again = <Result>(attempt: (advance: () => void) => Promise<Result>) => Promise<Result>;

function withRetries<Result>(
  options: PullOptions,
  attempt: (advance: () => void) => Promise<Result>,
): Promise<Result> {
  let advanced = false;
  const isPassing = (error: Error) => error instanceof PullError && error.passing;
  return pRetry(
    () => {
      advanced = false;
      return attempt(() => {
        advanced = true;
      });
    },
    {
      retries: RETRIES,
      minTimeout: options.firstWaitMs ?? FIRST_WAIT_MS,
      factor: 2,
      ...(options.signal ? { signal: options.signal } : {}),
      shouldRetry: ({ error }) => isPassing(error),
      shouldConsumeRetry: ({ error }) => !(isPassing(error) && advanced),
      onFailedAttempt: async ({ error, retriesLeft }) => {
        if (!isPassing(error) || (retriesLeft === 0 && !advanced)) return;
        options.report.retry(error.message);
        const wait = Math.min((error as PullError).waitMs, WAIT_LIMIT_MS);
        if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
      },
    },
  );
}
