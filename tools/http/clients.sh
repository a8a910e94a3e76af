#!/bin/bash
# clients.sh URL: the clients of others, unmodified, each asked for a vector of one text, which has to be the same from all of them.
set -e
url=${1:?the address of a server, such as http://127.0.0.1:8089}
environment=${TMPDIR:-/tmp}/pgembedder-clients
[ -x "$environment/bin/python" ] || { python3 -m venv "$environment" && "$environment/bin/pip" install -q openai huggingface_hub \
  langchain-openai llama-index-embeddings-openai llama-index-embeddings-text-embeddings-inference; }
exec "$environment/bin/python" "$(dirname "$0")/clients.py" "$url"
