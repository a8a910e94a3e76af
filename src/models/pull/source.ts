/** A file of a model at its source; what the source does not say of it is null. */
export interface SourceFile {
  /** Within the model's folder, with slashes. */
  readonly path: string;
  readonly bytes: number | null;
  readonly sha256: string | null;
  /** What git calls the file: the SHA-1 of its size and content. Hubs know small files by it. */
  readonly gitSha1: string | null;
  /** The source's own mark of this content, where it knows neither sum. */
  readonly etag: string | null;
}

/** What a source has of a model at one moment. */
export interface Snapshot {
  /** The commit; null where the source has no commits. */
  readonly commit: string | null;
  readonly files: readonly SourceFile[];
}

/** Bytes of a file, beginning at `from`; that is 0 where the source could not begin where it was asked to. */
export interface Part {
  readonly from: number;
  readonly content: AsyncIterable<Uint8Array>;
}

/** Where models come from: a hub, or a folder. */
export interface ModelSource {
  /** What there is of a model. @throws PullError */
  snapshot(name: string, revision: string): Promise<Snapshot>;
  /** The file with all that is known of it. @throws PullError */
  complete(name: string, commit: string | null, file: SourceFile): Promise<SourceFile>;
  /** Its content from a place on. @throws PullError */
  read(name: string, commit: string | null, file: SourceFile, from: number): Promise<Part>;
}
