#!/bin/bash
# Exit 0 if every model has a version and this user can read it, else 1 with what to do. Compose runs it as the service
# `check`, Kubernetes as an init container: without any version, TensorFlow Serving waits forever and opens no port.
set -u
config=${MODEL_CONFIG_FILE:-/config/models.config}
if [[ -n ${MODEL_NAME:-} ]]; then
  paths=("${MODEL_BASE_PATH:-/models}/$MODEL_NAME")
else
  mapfile -t paths < <(sed 's/^[[:space:]]*#.*//' "$config" | grep -oE "\bbase_path[[:space:]]*:[[:space:]]*[\"'][^\"']+" | sed "s/.*[\"']//")
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
