#!/bin/bash
# Exit 0 when every model that is served can answer, else 1: the health check of compose and the probe of Kubernetes.
#
# The names come from the model config that the server reads, or from MODEL_NAME if it is set, so that no other file names
# a model. It requests the metadata of each model: that is 200 only when a version can answer, while the status is 200 also
# for a model that failed. TensorFlow Serving's image has neither curl nor wget; bash opens the socket itself.
config=${MODEL_CONFIG_FILE:-/config/models.config}
port=${REST_PORT:-8501}

# The config is protobuf's text format, in which only models have a `name`.
if [[ -n ${MODEL_NAME:-} ]]; then
  names=("$MODEL_NAME")
else
  mapfile -t names < <(sed 's/^[[:space:]]*#.*//' "$config" | grep -oE "\bname[[:space:]]*:[[:space:]]*[\"'][^\"']+" | sed "s/.*[\"']//")
fi
if [[ ${#names[@]} -eq 0 ]]; then
  echo "$config has no model" >&2
  exit 1
fi
for name in "${names[@]}"; do
  # In a subshell: the connection is closed with it.
  answer=$(
    exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
    printf 'GET /v1/models/%s/metadata HTTP/1.0\r\n\r\n' "$name" >&3
    head -n 1 <&3
  ) 2>/dev/null
  if [[ $answer != *" 200 "* ]]; then
    echo "$name is not ready: ${answer:-nothing listens on port $port}" >&2
    exit 1
  fi
done
