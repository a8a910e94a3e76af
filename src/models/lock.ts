import { readFileSync } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { messageOf, UserError } from '../errors.ts';
import { CPU_VARIANTS } from '../model-files/variants.ts';
import { isModelName } from './name.ts';

/** Lies in a models folder and says exactly what was pulled into it; made to be kept under version control. */
export const LOCK_FILE_NAME = 'models.lock.json';

const lockedFile = z.object({ bytes: z.int().nonnegative(), sha256: z.string().regex(/^[0-9a-f]{64}$/) });

const lockedModel = z.object({
  /** The revision that was asked for; null for a model that was copied from a folder. */
  revision: z.string().nullable(),
  /** The commit it was then; pulling again gives this one. */
  commit: z.string().nullable(),
  /** The folder it was copied from. */
  from: z.string().optional(),
  variants: z.array(z.enum(CPU_VARIANTS)).min(1),
  pulled_at: z.iso.datetime(),
  /** By path within the model's folder. */
  files: z
    .record(z.string(), lockedFile)
    .refine((files) => Object.keys(files).every(staysWithin), 'a file leads out of its folder')
    .readonly(),
});

// The file comes with a repository, where anybody may propose a change; and what it names replaces folders. So it is checked.
const lockSchema = z.object({
  lockfileVersion: z.literal(1),
  models: z
    .record(z.string(), lockedModel)
    .refine((models) => Object.keys(models).every(isModelName), 'a model of it has no name of a model'),
});

export type LockedFile = z.infer<typeof lockedFile>;
export type LockedModel = z.infer<typeof lockedModel>;
/** What was pulled into a folder, by ORG/NAME. */
export type LockedModels = Readonly<Record<string, LockedModel>>;

function staysWithin(path: string): boolean {
  return path.split(/[/\\]/).every((part) => !['', '.', '..'].includes(part));
}

/** Reads a folder's lock file; without one, nothing is locked. @throws UserError for a file that cannot be read */
export function readLock(directory: string): LockedModels {
  const path = join(directory, LOCK_FILE_NAME);
  try {
    const { models } = lockSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
    // Without the properties of Object: a model may be called constructor.
    return Object.assign(Object.create(null), models);
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR'))
      return Object.create(null);
    const reason = error instanceof z.ZodError ? error.issues[0]!.message : messageOf(error);
    throw new UserError(`${path} cannot be read: ${reason}`, {
      hint: 'Restore it from version control, or delete it and pull the models again',
      cause: error,
    });
  }
}

/** Writes a folder's lock file in one step: a reader sees the old one or the new one. */
export async function writeLock(directory: string, models: LockedModels): Promise<void> {
  const path = join(directory, LOCK_FILE_NAME);
  const draft = `${path}.${process.pid}`;
  const sorted = Object.fromEntries(Object.entries(models).sort(([a], [b]) => (a < b ? -1 : 1)));
  try {
    await writeFile(draft, `${JSON.stringify({ lockfileVersion: 1, models: sorted }, null, 2)}\n`, {
      flush: true,
    });
    await rename(draft, path);
  } finally {
    await rm(draft, { force: true });
  }
}
