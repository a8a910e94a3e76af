import { featureExtraction } from './feature-extraction.ts';
import { textClassification } from './text-classification.ts';
import { textRanking } from './text-ranking.ts';
import { tokenClassification } from './token-classification.ts';
import { zeroShotClassification } from './zero-shot-classification.ts';

/** The tasks. The first one is that of a pipeline that names none. */
export const table = [
  featureExtraction,
  textClassification,
  zeroShotClassification,
  tokenClassification,
  textRanking,
] as const;
