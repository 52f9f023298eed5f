#!/bin/sh
# Create the secrets that the profiles of compose.yaml need: a certificate authority, certificates that it signs for the edge
# (localhost) and for one client (mutual TLS), a token, and Grafana's password. Existing files do not change. Each file is
# written to a temporary folder and renamed, so an interrupted run leaves no incomplete file, and the next run creates the
# missing ones.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets
cd secrets
umask 077
rm -rf .run.*
new=.run.$$
mkdir "$new"
trap 'rm -rf "$new"' EXIT

new_key() {
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:prime256v1 -out "$new/$1" 2>/dev/null
  mv "$new/$1" "$1"
}

# sign NAME SUBJECT EXTENSIONS: NAME.key, and NAME.crt signed by the authority, good for a year
sign() {
  new_key "$1.key"
  openssl req -new -key "$1.key" -subj "$2" | openssl x509 -req -days 365 -CA ca.crt -CAkey ca.key -set_serial \
    "0x$(openssl rand -hex 16)" -extfile /dev/fd/3 -out "$new/$1.crt" 2>/dev/null 3<<EXTENSIONS
basicConstraints = critical,CA:false
keyUsage = critical,digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
$3
EXTENSIONS
  mv "$new/$1.crt" "$1.crt"
}

if [ ! -e ca.crt ]; then
  new_key ca.key
  openssl req -x509 -new -key ca.key -days 3650 -subj "/CN=Hangtag edge authority" -out "$new/ca.crt" \
    -addext "keyUsage=critical,keyCertSign,cRLSign"
  mv "$new/ca.crt" ca.crt
fi
[ -e tls.crt ] || sign tls /CN=localhost "extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost,IP:127.0.0.1"
[ -e client.crt ] || sign client /CN=me "extendedKeyUsage = clientAuth"
if [ ! -e tokens.map ]; then
  token=$(openssl rand -hex 32)
  printf '"Bearer %s" me;\n' "$token" >"$new/tokens.map"
  mv "$new/tokens.map" tokens.map
fi
if [ ! -e grafana_password ]; then
  openssl rand -hex 16 >"$new/grafana_password"
  mv "$new/grafana_password" grafana_password
fi
# The containers run as other users and must read the mounted files. Other users cannot open the folder itself.
chmod 644 ca.crt tls.crt tls.key tokens.map grafana_password
pwd
