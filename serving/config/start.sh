#!/bin/bash
# Start the server; if the newest version of a model does not load, start it with the newest one that does.
#
#   start.sh SERVER FLAG…     for example   start.sh tensorflow_model_server --port=8500 --model_config_file=…
#
# TensorFlow Serving does not start if the newest version of a model does not load, even if an older version does. So a
# restart would be an outage. This script leaves out a version that failed: it makes a copy of the config that pins the
# version before it. The log names the version, and the alert on failed loads fires. When the config or the versions on disk
# change, the server gets the original config; it serves the pinned version until another one has loaded.
set -u
config=${MODEL_CONFIG_FILE:-/config/models.config}
folder=$(mktemp -d)
copy=$folder/models.config
failure=$folder/failure
declare -A pins=() # versions by model
poll=10
for flag in "$@"; do
  [[ $flag != --model_config_file_poll_wait_seconds=* ]] || poll=${flag#*=}
done

# The models as text: those of the config, or the one that MODEL_NAME names.
models() {
  if [[ -n ${MODEL_NAME:-} ]]; then
    echo "model_config_list { config {" \
      "name: '$MODEL_NAME' base_path: '${MODEL_BASE_PATH:-/models}/$MODEL_NAME' model_platform: 'tensorflow' } }"
  else
    sed -e 's/^[[:space:]]*#.*//' -e "s/[[:space:]]#[^\"']*$//" "$config"
  fi
}

# value FIELD TEXT: the string in the first field of that name.
value() {
  grep -oE "\b$1[[:space:]]*:[[:space:]]*[\"'][^\"']*" <<<"$2" | head -n 1 | sed "s/.*[\"']//"
}

# The same text with the pins, and without policies that they replace. A block at depth two is a model.
pinned() {
  local text block="" depth=0 brace name
  text=$(models)
  while [[ $text =~ ^([^{}]*)([{}])(.*)$ ]]; do
    block+=${BASH_REMATCH[1]} brace=${BASH_REMATCH[2]} text=${BASH_REMATCH[3]}
    if [[ $brace == "{" ]]; then
      depth=$((depth + 1))
    else
      name=$(value name "$block")
      if [[ $depth == 2 && -n $name && -n ${pins[$name]:-} && $block != *model_version_policy* ]]; then
        block+=" model_version_policy { specific { versions: ${pins[$name]} } } "
      fi
      depth=$((depth - 1))
    fi
    block+=$brace
    if ((depth < 2)); then
      printf '%s' "$block"
      block=""
    fi
  done
  printf '%s\n' "$block$text"
}

# base_path MODEL
base_path() {
  { models | tr '\n' ' ' && echo; } | sed 's/\bconfig[[:space:]]*:\?[[:space:]]*{/\n&/g' | while IFS= read -r block; do
    if [[ $(value name "$block") == "$1" ]]; then value base_path "$block"; fi
  done
}

# pin MODEL VERSION: leave that version out. Exit 1 if no other can be served.
pin() {
  local number older="" before
  before=$(pinned)
  while read -r number; do
    ((10#$number >= 10#$2)) || older=$((10#$number))
  done < <(find "$(base_path "$1")/" -maxdepth 1 -regex '.*/[0-9]+' -printf '%f\n' 2>/dev/null | sort -n)
  pins[$1]=$older
  if [[ -z $older ]]; then
    echo "version $2 of $1 does not load, and there is no older one: publish it again" >&2
    exit 1
  fi
  pinned >"$copy"
  if [[ $(<"$copy") == "$before" ]]; then
    echo "version $2 of $1 does not load, and models.config requires it: publish it again, or name another version" >&2
    exit 1
  fi
  echo "version $2 of $1 does not load: starting with version $older. Publish it again, or move it out of the way:" \
    "mv models/$1/$2 models/$1/$2.broken" >&2
}

# What the pins depend on.
state() {
  models
  for name in "${!pins[@]}"; do ls "$(base_path "$name")"; done
}

# Remove the pins when something changes; from then on, the copy is equal to the config.
follow() {
  local before now
  before=$(state)
  while sleep "$poll"; do
    now=$(state 2>/dev/null)
    [[ $now != "$before" ]] || continue
    before=$now
    models >"$copy.new" && mv "$copy.new" "$copy"
  done
}

server="" follower="" stopping=""
trap 'stopping=yes; kill -TERM $server 2>/dev/null' TERM INT
trap 'kill $follower 2>/dev/null; rm -rf "$folder"' EXIT
while [[ -z $stopping ]]; do
  : >"$failure"
  exec {log}> >(exec sed -u "/Failed to start server/w $failure")
  filter=$!
  "$@" >&"$log" 2>&1 &
  server=$!
  exec {log}>&-
  wait "$server"
  code=$?
  while kill -0 "$server" 2>/dev/null; do # a signal has ended the wait, and the server is still stopping
    wait "$server"
    code=$?
  done
  wait "$filter"
  failed=$(grep -oE 'name: [^ {}]+ version: [0-9]+' "$failure")
  [[ -n $failed && -z $stopping ]] || exit "$code"
  while read -r _ model _ version; do pin "$model" "$version"; done <<<"$failed"
  if [[ -z $follower ]]; then
    set -- "$@" "--model_config_file=$copy" "--model_config_file_poll_wait_seconds=$poll"
    follow &
    follower=$!
  fi
done
