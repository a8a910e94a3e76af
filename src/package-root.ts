import { fileURLToPath } from 'node:url';

/**
 * The folder of the package: the one that holds `migrations/`, `sql/`, `models/` and `dist/`.
 * `src/` and `dist/` lie side by side in it, so this holds for the sources and for the build alike.
 */
export const packageRoot = fileURLToPath(new URL('..', import.meta.url));
