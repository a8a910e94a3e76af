"""clients.py URL: asks a server by the clients of others for the vector of one text, and compares what they give.

LangChain's HuggingFaceEndpointEmbeddings is not among them: it takes no URL any more (langchain-huggingface 1.2).
"""

import importlib.metadata as metadata
import math
import os
import sys

URL = sys.argv[1]
TOKEN = os.environ.get("PGEMBEDDER_HTTP_TOKEN", "none")
MODEL = "all-MiniLM-L6-v2"
TEXT = "how do I get my money back"


def openai():
    from openai import OpenAI

    client = OpenAI(base_url=f"{URL}/v1", api_key=TOKEN)
    assert MODEL in [model.id for model in client.models.list()]
    return client.embeddings.create(model=MODEL, input=[TEXT]).data[0].embedding


def huggingface_hub():
    from huggingface_hub import InferenceClient

    vector = InferenceClient(base_url=URL, token=TOKEN).feature_extraction(TEXT)
    return vector[0].tolist()


def langchain_openai():
    from langchain_openai import OpenAIEmbeddings

    # The default sends ids of OpenAI's own tokenizer.
    embeddings = OpenAIEmbeddings(model=MODEL, base_url=f"{URL}/v1", api_key=TOKEN, check_embedding_ctx_length=False)
    assert len(embeddings.embed_documents([TEXT, "another"])) == 2
    return embeddings.embed_query(TEXT)


def llama_index_embeddings_openai():
    from llama_index.embeddings.openai import OpenAIEmbedding

    return OpenAIEmbedding(model_name=MODEL, api_base=f"{URL}/v1", api_key=TOKEN).get_text_embedding(TEXT)


def llama_index_embeddings_text_embeddings_inference():
    from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

    return TextEmbeddingsInference(model_name=MODEL, base_url=URL, auth_token=f"Bearer {TOKEN}").get_text_embedding(TEXT)


CLIENTS = [openai, huggingface_hub, langchain_openai, llama_index_embeddings_openai,
           llama_index_embeddings_text_embeddings_inference]

first = None
failed = 0
for client in CLIENTS:
    name = client.__name__.replace("_", "-")
    version = metadata.version(name)
    try:
        vector = client()
        first = first or vector
        cosine = sum(a * b for a, b in zip(first, vector)) / (math.hypot(*first) * math.hypot(*vector))
        good = len(vector) == len(first) and cosine > 0.9999
        print(f"{'ok    ' if good else 'WRONG '} {name} {version}: {len(vector)} numbers, cosine {cosine:.6f}")
    except Exception as error:  # noqa: BLE001: each is told, and the others go on.
        good = False
        print(f"FAILED {name} {version}: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
    failed += not good
sys.exit(1 if failed else 0)
