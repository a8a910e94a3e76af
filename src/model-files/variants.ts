/**
 * The precisions in which a model's folder may have it, the best for a CPU first: there int8 is two to three times as fast
 * as fp32, and fp16 is slower than either.
 */
export const CPU_VARIANTS = ['q8', 'fp32', 'fp16', 'q4', 'q4f16', 'bnb4'] as const;

/** A precision: the letters are those of transformers.js' `dtype`. */
export type Variant = (typeof CPU_VARIANTS)[number];

/** What a variant's file is called after `model`: the names that transformers.js and Optimum write, the usual one first. */
const ENDINGS: Readonly<Record<Variant, readonly string[]>> = {
  q8: ['_quantized', '_int8', '_uint8'],
  fp32: [''],
  fp16: ['_fp16'],
  q4: ['_q4'],
  q4f16: ['_q4f16'],
  bnb4: ['_bnb4'],
};

export function isVariant(text: string): text is Variant {
  return CPU_VARIANTS.some((variant) => variant === text);
}

/** Where a variant's ONNX file may lie within a model's folder, the likeliest first. */
export function onnxPathsOf(variant: Variant): string[] {
  return ['onnx/', ''].flatMap((folder) => ENDINGS[variant].map((ending) => `${folder}model${ending}.onnx`));
}

/** An ONNX file of a model, by its path within the model's folder. */
export interface OnnxFile {
  readonly variant: Variant;
  readonly path: string;
}

/** The ONNX files that there are, one for each variant, in this order. */
export function onnxFilesAmong(order: readonly Variant[], has: (path: string) => boolean): OnnxFile[] {
  return order.flatMap((variant) => {
    const path = onnxPathsOf(variant).find(has);
    return path === undefined ? [] : [{ variant, path }];
  });
}

/** Whether this file holds weights of that ONNX file: `model.onnx_data`, `model.onnx_data_1`, `model.onnx.data`. */
export function isExternalDataOf(onnxPath: string, path: string): boolean {
  return path.startsWith(onnxPath) && /^(_data(_\d+)?|\.data)$/.test(path.slice(onnxPath.length));
}
