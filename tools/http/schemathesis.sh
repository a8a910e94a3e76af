#!/bin/bash
# schemathesis.sh URL [OPTION...]: requests made of the server's OpenAPI document, right ones and wrong ones. PGEMBEDDER_HTTP_TOKEN is sent where it is set.
# No answer of 5xx, none that the document does not name, none that is not as it says, and no wrong request that is taken.
# Not asked: that every right request is taken, since 422 says what a model cannot do; and GET /, which is the dashboard.
set -e
url=${1:?the address of a server, such as http://127.0.0.1:8089}
shift
environment=${TMPDIR:-/tmp}/pgembedder-schemathesis
[ -x "$environment/bin/schemathesis" ] || { python3 -m venv "$environment" && "$environment/bin/pip" install -q 'schemathesis==4.32.5'; }
header=()
[ -z "$PGEMBEDDER_HTTP_TOKEN" ] || header=(-H "Authorization: Bearer $PGEMBEDDER_HTTP_TOKEN")
# It writes what it has found into the folder where it runs.
cd "$environment"
exec "$environment/bin/schemathesis" run "$url/openapi.json" --phases examples,coverage,fuzzing --continue-on-failure "${header[@]}" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance,negative_data_rejection \
  "$@"
