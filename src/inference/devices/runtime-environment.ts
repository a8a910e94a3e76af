import { SECRETS } from '../../secret-files.ts';

/** Names of variables that hold secrets as a rule: of PostgreSQL's own, of hubs, of servers elsewhere. */
const SECRET = /^PG(?!EMBEDDER)|TOKEN|PASSWORD|PASSWD|SECRET|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY/i;

/**
 * The environment of a process that loads ONNX Runtime and other people's models: without the secrets of this one. From 1.29 on
 * the official Linux builds of ONNX Runtime report model and session data to their maker, and keep an identity of the machine in the
 * home folder, unless they are told not to.
 */
export function runtimeEnvironment(): NodeJS.ProcessEnv {
  const secrets: readonly string[] = SECRETS;
  const own = Object.entries(process.env).filter(([name]) => !SECRET.test(name) && !secrets.includes(name));
  return { ...Object.fromEntries(own), ORT_DISABLE_TELEMETRY: '1' };
}
