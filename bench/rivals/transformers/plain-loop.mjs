// transformers.js as its users write it: texts in their order, 32 at a time, its own defaults, the int8 file. The
// bundled model pools in its graph, which pipeline('feature-extraction') does not know, so the loop is that pipeline's
// own two steps, tokenizer and model; what it would still do afterwards, the pooling, is spared it.
import { basename, dirname } from 'node:path';
import { AutoModel, AutoTokenizer, env } from '@huggingface/transformers';
import { serve } from '../serve.mjs';

const { directory } = JSON.parse(process.argv[2]);
const name = `${basename(dirname(directory))}/${basename(directory)}`;
env.allowRemoteModels = false;
env.localModelPath = dirname(dirname(directory));
const tokenizer = await AutoTokenizer.from_pretrained(name);
const model = await AutoModel.from_pretrained(name, { dtype: 'q8' });

serve(async (texts) => {
  for (let from = 0; from < texts.length; from += 32) {
    const batch = texts.slice(from, from + 32);
    const { sentence_embedding } = await model(tokenizer(batch, { padding: true, truncation: true }));
    if (sentence_embedding.tolist().length !== batch.length) throw new Error('a row has no vector');
  }
});
