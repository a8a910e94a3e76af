// A server round transformers.js as its users write one: each request runs the model on its own text.
import { createServer } from 'node:http';
import { basename, dirname } from 'node:path';
import { AutoModel, AutoTokenizer, env } from '@huggingface/transformers';

const { directory } = JSON.parse(process.argv[2]);
const name = `${basename(dirname(directory))}/${basename(directory)}`;
env.allowRemoteModels = false;
env.localModelPath = dirname(dirname(directory));
const tokenizer = await AutoTokenizer.from_pretrained(name);
const model = await AutoModel.from_pretrained(name, { dtype: 'q8' });

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const { input } = JSON.parse(Buffer.concat(chunks));
  const { sentence_embedding } = await model(tokenizer([input].flat(), { padding: true, truncation: true }));
  const data = sentence_embedding
    .tolist()
    .map((embedding, index) => ({ object: 'embedding', index, embedding }));
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ object: 'list', data }));
});
process.on('disconnect', () => process.exit(0));
server.listen(Number(process.argv[3]), '127.0.0.1', () => process.send('ready'));
