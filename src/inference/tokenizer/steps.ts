import { z } from 'zod';

/** A normalizer or pre-tokenizer of a `tokenizer.json`, as far as it is looked at here. */
export interface Step {
  type: string;
  normalizers?: Step[] | undefined;
  pretokenizers?: Step[] | undefined;
  handle_chinese_chars?: boolean | undefined;
  lowercase?: boolean | undefined;
  use_regex?: boolean | undefined;
}

export const stepSchema: z.ZodType<Step> = z.lazy(() =>
  z.looseObject({
    type: z.string(),
    normalizers: z.array(stepSchema).optional(),
    pretokenizers: z.array(stepSchema).optional(),
    handle_chinese_chars: z.boolean().optional(),
    lowercase: z.boolean().optional(),
    use_regex: z.boolean().optional(),
  }),
);

/** The steps of a normalizer or pre-tokenizer in the order in which they apply. */
export function stepsOf(part: Step | null | undefined): Step[] {
  if (!part) return [];
  return part.type === 'Sequence' ? (part.normalizers ?? part.pretokenizers ?? []).flatMap(stepsOf) : [part];
}
