#!/bin/sh
# Make what compose.yaml's profiles need and the repository must not hold: a certificate for localhost, signed by itself,
# a token, and Grafana's password. What is there already stays.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
umask 077
if [ ! -e secrets/tls.crt ]; then
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=localhost \
    -addext "subjectAltName=DNS:localhost,IP:127.0.0.1" -keyout secrets/tls.key -out secrets/tls.crt 2>/dev/null
fi
if [ ! -e secrets/tokens.map ]; then
  token=$(openssl rand -hex 32)
  printf '"Bearer %s" me;\n' "$token" >secrets/tokens.map
fi
[ -e secrets/grafana_password ] || openssl rand -hex 16 >secrets/grafana_password
# The containers run as other users than this one; the folder itself stays closed to others.
chmod 700 secrets
chmod 644 secrets/*
echo "$(pwd)/secrets"
