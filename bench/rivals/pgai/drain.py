"""pgai's worker on the table `gloss`, with a provider that answers at once.

    python drain.py DATABASE_URL CONCURRENCY BATCH_SIZE

Installs pgai's schema, makes a vectorizer for the column `body` (one chunk a row, no index), and drains its queue
with pgai's own worker. CONCURRENCY and BATCH_SIZE 0 leave pgai's defaults. Prints {"seconds": ...} of the drain
alone, from the start of the worker in this process to its end.
"""

import asyncio
import datetime
import json
import sys
import time

import pgai
import psycopg
from pgai.vectorizer.embedders.ollama import Ollama
from pgai.vectorizer.worker import Worker

DIMENSIONS = 384
VECTOR = [DIMENSIONS**-0.5] * DIMENSIONS

CREATE_VECTORIZER = """
select ai.create_vectorizer(
  'gloss'::regclass,
  loading => ai.loading_column('body'),
  destination => ai.destination_table('gloss_pgai_embedding'),
  embedding => ai.embedding_ollama('none', %(dimensions)s),
  chunking => ai.chunking_none(),
  indexing => ai.indexing_none(),
  processing => ai.processing_default(batch_size => %(batch_size)s, concurrency => %(concurrency)s))
"""


async def setup(self):
    """Nobody is asked whether the model is there."""


async def embed(self, documents):
    """The same vector for every document, at once."""
    yield [VECTOR for _ in documents]


Ollama.setup = setup
Ollama.embed = embed


def main() -> None:
    url, concurrency, batch_size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    pgai.install(url)
    with psycopg.connect(url, autocommit=True) as connection:
        settings = {
            "dimensions": DIMENSIONS,
            "concurrency": concurrency or None,
            "batch_size": batch_size or None,
        }
        connection.execute(CREATE_VECTORIZER, settings)
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")
    worker = Worker(url, datetime.timedelta(seconds=1), once=True)
    begin = time.perf_counter()
    error = asyncio.run(worker.run())
    seconds = time.perf_counter() - begin
    if error is not None:
        raise error
    print(json.dumps({"seconds": seconds}))


main()
