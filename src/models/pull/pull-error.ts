import { UserError } from '../../errors.ts';

/** Why a model could not be pulled. */
export class PullError extends UserError {
  override readonly name = 'PullError';
  /** Whether trying again may help. */
  readonly passing: boolean;
  /** The wait that the hub asks for, in milliseconds; 0 when it asks for none. */
  readonly waitMs: number;

  constructor(
    message: string,
    options: { hint?: string; cause?: unknown; passing?: boolean; waitMs?: number } = {},
  ) {
    super(message, options);
    this.passing = options.passing ?? false;
    this.waitMs = options.waitMs ?? 0;
  }
}
