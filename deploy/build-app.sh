#!/bin/sh
# Run by the Dockerfiles in their build stage, in a copy of this repository: leaves in it what an image runs and no more.
# MODELS names models to fetch beside the bundled one.
set -eu

npm ci --ignore-scripts --no-audit --no-fund
npm run build
# Without what is for developing, and for trying out: the demo's words, the embedded Postgres.
npm prune --ignore-scripts --omit=dev --omit=optional --no-audit --no-fund
rm -rf node_modules/@electric-sql

# onnxruntime-node comes with the binaries of every platform.
binaries=$(echo node_modules/onnxruntime-node/bin/napi-*)
own=$binaries/linux/$(node -p process.arch)
test -d "$own"
find "$binaries" -mindepth 2 -maxdepth 2 ! -path "$own" -exec rm -rf {} +

# Into the package's own folder of models, since a volume may lie over any other.
if [ -f /run/secrets/hub_token ]; then export PGEMBEDDER_HUB_TOKEN_FILE=/run/secrets/hub_token; fi
for model in ${MODELS:-}; do PGEMBEDDER_MODELS_DIR=$PWD/models node dist/cli/main.js models pull "$model"; done

chmod 755 dist/cli/main.js
rm -rf src deploy tsconfig.json tsconfig.build.json .npmrc
