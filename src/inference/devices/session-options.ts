import { dirname } from 'node:path';
import type { InferenceSession } from 'onnxruntime-node';
import type { Device } from './device.ts';
import type { RunSettings } from './run-settings.ts';

type Options = InferenceSession.SessionOptions;

/** ONNX Runtime's levels: warnings and above, errors and above. */
const LOG_WARNINGS = 2;
const LOG_ERRORS = 3;

/** The options of a session on the device of the settings. */
export function sessionOptions(onnxPath: string, settings: RunSettings): Options {
  const onCpu = settings.device.kind === 'cpu';
  return {
    executionProviders: [providerOf(settings.device)],
    // On a GPU too: what it has no kernels for (integers of shapes and masks, some of int8) runs on the CPU.
    intraOpNumThreads: settings.threads,
    interOpNumThreads: 1,
    // The arena keeps what it took for the largest batch, and the token budget bounds that: over 1,500 batches of
    // shapes that varied it grew from 132 to 140 MB, where malloc alone went from 140 to 188. Neither was faster.
    enableCpuMemArena: true,
    // Plans memory for each shape it sees, and here nearly every batch has another (onnxruntime issue 11118).
    // DirectML refuses to run with it.
    enableMemPattern: false,
    // They go to stderr and from there to the client's log. On a GPU each load warns that some nodes stay on the CPU.
    logSeverityLevel: onCpu ? LOG_WARNINGS : LOG_ERRORS,
    extra: {
      session: {
        // Without VNNI the products of an int8 model overflow (sums of two in 16 bits): cosines to the reference were 0.86
        // and less on an AVX2 processor. This takes others there, and changes nothing where the processor has VNNI.
        x64quantprecision: '1',
        intra_op: { allow_spinning: settings.spinning ? '1' : '0' },
        // Weights in a second file are named relative to the model, which is given as bytes and so has no place.
        model_external_initializers_file_folder_path: dirname(onnxPath),
      },
      // On the CPU its kernel takes five times as long as the layer normalization and addition it replaces.
      ...(onCpu && { optimization: { disable_specified_optimizers: 'SkipLayerNormFusion' } }),
    },
  };
}

/**
 * The execution provider. ONNX Runtime itself puts the CPU after it, for what it has no kernels for; it is not named
 * here, since a list hides nothing: where the first one fails, the whole list does.
 *
 * Of CUDA's options the Node binding takes the device alone (onnxruntime-node 1.30, session_options_helper.cc), not
 * the arena's strategy or cuDNN's search; and of WebGPU's none that changes anything for a text encoder.
 */
export function providerOf({
  kind,
  index,
}: Pick<Device, 'kind' | 'index'>): InferenceSession.ExecutionProviderConfig {
  if (kind === 'cuda') return { name: 'cuda', deviceId: index };
  if (kind === 'dml') return { name: 'dml', deviceId: index };
  return kind;
}
