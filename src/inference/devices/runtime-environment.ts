/**
 * The environment of a process that loads ONNX Runtime. From 1.29 on its official Linux builds report model and session
 * data to their maker, and keep an identity of the machine in the home folder, unless they are told not to.
 */
export function runtimeEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, ORT_DISABLE_TELEMETRY: '1' };
}
