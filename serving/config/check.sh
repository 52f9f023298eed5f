#!/bin/bash
# Try the server with the flags that are given, before it is started for good: exit 0 when all models load, else 1 with what
# to do. Compose runs it as the service `check`, Kubernetes as an init container.
#
#   check.sh SERVER FLAG…     for example   check.sh tensorflow_model_server --port=8500 --model_config_file=…
#
# It matters because TensorFlow Serving does not start if the newest version of a model does not load, although an older
# version that does lies beside it, and because without any version it waits for ever with no port open.
set -u
folder=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export MODEL_CONFIG_FILE=${MODEL_CONFIG_FILE:-/config/models.config}
if [[ -n ${MODEL_NAME:-} ]]; then
  paths=("${MODEL_BASE_PATH:-/models}/$MODEL_NAME")
else
  mapfile -t paths < <(sed 's/^[[:space:]]*#.*//' "$MODEL_CONFIG_FILE" | grep -oE "\bbase_path[[:space:]]*:[[:space:]]*[\"'][^\"']+" | sed "s/.*[\"']//")
fi
for path in "${paths[@]}"; do
  if [[ -z $(find "$path/" -maxdepth 1 -regex '.*/[0-9]+' -print -quit 2>/dev/null) ]]; then
    model=$(basename "$path")
    echo "models/$model has no version. Train one: make train MODEL=$model. Or publish your own:" \
      "hangtag publish MODEL --base-path models/$model" >&2
    exit 1
  fi
  unreadable=$(find "$path/" \( -type d ! \( -readable -executable \) -o -type f ! -readable \) -print -quit 2>&1)
  if [[ -n $unreadable ]]; then
    echo "user $(id -u) cannot read $unreadable. Let it: chmod -R u=rwX,go=rX models/$(basename "$path")" >&2
    exit 1
  fi
done

log=$(mktemp)
export REST_PORT=18501
"$@" --port=18500 --rest_api_port=$REST_PORT --max_num_load_retries=0 >"$log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null; rm -f "$log"' EXIT
while kill -0 "$server" 2>/dev/null; do
  if bash "$folder/ready.sh" 2>/dev/null; then
    echo "every model loads"
    exit 0
  fi
  sleep 0.2
done
error=$(grep -E "Failed to start server|[Ee]rror" "$log" | tail -n 1)
echo "the server does not start: ${error:-$(tail -n 1 "$log")}" >&2
echo "If a version does not load, move it out of the way (mv models/NAME/NUMBER models/NAME/NUMBER.broken) and start again:" \
  "the newest one that is left is served. hangtag doctor models/NAME says more." >&2
exit 1
