#!/bin/sh
# Check what the files in this folder need, and run `docker compose` on them. Exit code 2: something is missing.
#   compose.sh up [-f OVERRIDE.yaml …] [--profile NAME …]     make serve-docker
#   compose.sh down                                           make stop-docker
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$here"
missing=

report() {
  echo "$*" >&2
  missing=yes
}

# value NAME DEFAULT: a variable that compose.yaml reads, from the environment or from .env beside it.
value() {
  eval "given=\${$1:-}"
  [ -n "$given" ] || [ ! -f .env ] || given=$(sed -n "s/^$1=//p" .env | tail -n 1 | tr -d "'\"")
  echo "${given:-$2}"
}

check_models() {
  models=$(value HANGTAG_MODELS ../../models)
  config=$(value HANGTAG_CONFIG ../config)
  names=$(value MODEL_NAME "")
  if [ -n "$names" ]; then
    :
  elif [ -f "$config/models.config" ]; then
    names=$(sed 's/^[[:space:]]*#.*//' "$config/models.config" |
      sed -n "s/.*base_path[[:space:]]*:[[:space:]]*[\"']\/models\/\([^\"']*\).*/\1/p")
  else
    report "$config/models.config does not exist: copy serving/config there, or set MODEL_NAME."
  fi
  for name in $names; do
    if ! ls "$models/$name" 2>/dev/null | grep -qE '^[0-9]+$'; then
      folder=$(realpath --relative-to=../.. "$models" 2>/dev/null || echo "$models")/$name
      report "$folder has no version to serve: run make train MODEL=$name, or publish a model that you have:" \
        "hangtag publish MODEL --base-path $folder"
    fi
  done
}

verb=${1:-up}
[ $# -eq 0 ] || shift
[ "$verb" = down ] || check_models

if ! command -v docker >/dev/null; then
  report "Docker is not installed: install it, or run the embedded server with make serve."
elif ! docker compose version >/dev/null 2>&1; then
  report "Docker's compose plugin is not installed: on Debian or Ubuntu, apt install docker-compose-plugin"
elif ! docker info >/dev/null 2>&1; then
  report "The Docker engine does not answer: start it, and see docker info."
fi
[ -z "$missing" ] || exit 2

[ "$verb" = up ] || exec docker compose -f compose.yaml --profile '*' down
overrides=
while [ "${1:-}" = -f ]; do
  overrides="$overrides -f $here/$2"
  shift 2
done
# shellcheck disable=SC2086 # several arguments
exec docker compose -f "$here/compose.yaml" $overrides "$@" up --detach --wait
