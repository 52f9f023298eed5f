#!/bin/sh
# Start nginx with the tokens, and read them again whenever the file changes.
#
# nginx compares the keys of a map without regard to case, unless they are regular expressions. So each line
#   "Bearer 3f…" alice;      of the token file becomes      "~^[Bb]earer \Q3f…\E$" alice;
set -eu
tokens=/run/secrets/edge_tokens
map=/tmp/tokens.map

convert() {
  sed 's/^[[:space:]]*"Bearer \([^"]*\)"/"~^[Bb]earer \\Q\1\\E$"/' "$tokens" >"$map.new"
  mv "$map.new" "$map"
}

convert
old=$(cksum <"$tokens")
# exec keeps the process number, so in this loop $$ is nginx.
while sleep 1 && kill -0 $$ 2>/dev/null; do
  new=$(cksum <"$tokens") || continue
  if [ "$new" != "$old" ]; then
    old=$new
    convert && kill -HUP $$
  fi
done &
exec nginx -c /edge/nginx.conf -g "daemon off;"
