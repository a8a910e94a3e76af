import { serveEngine, settingsFromArguments } from './serve.ts';

serveEngine(settingsFromArguments());
