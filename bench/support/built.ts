/**
 * The library as it is installed: the code of dist/, with the types of src/. What is measured must be what users run,
 * and not what a TypeScript loader makes of the sources.
 */
export const { createWorker, definePipeline, migrate, openDatabase } =
  await load<typeof import('../../src/index.ts')>('index.js');
export const { createModelStore } = await load<typeof import('../../src/models/store.ts')>('models/store.js');
export const { physicalCores } = await load<typeof import('../../src/inference/devices/cores.ts')>(
  'inference/devices/cores.js',
);
export const { Engine } = await load<typeof import('../../src/inference/engine/engine.ts')>(
  'inference/engine/engine.js',
);
export const { Embedder } =
  await load<typeof import('../../src/inference/embedder.ts')>('inference/embedder.js');
export const { openEmbedder } = await load<typeof import('../../src/inference/open-embedder.ts')>(
  'inference/open-embedder.js',
);
export const { cpu } = await load<typeof import('../../src/inference/devices/device.ts')>(
  'inference/devices/device.js',
);
export const { readGlosses } =
  await load<typeof import('../../src/cli/demo/wordnet.ts')>('cli/demo/wordnet.js');

async function load<Module>(path: string): Promise<Module> {
  return (await import(new URL(`../../dist/${path}`, import.meta.url).href)) as Module;
}
