#!/bin/sh
# Make what compose.yaml's profiles need and the repository must not hold: a certificate authority of our own, certificates
# that it signed for the edge (localhost) and for one client (mutual TLS), a token, and Grafana's password. What is there
# already stays. Each file is written in a folder of this run and renamed, so that a run that was interrupted leaves none half
# written, and the next run makes what is missing.
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
# The containers run as other users than this one and read what is mounted; the folder itself stays closed to others.
chmod 644 ca.crt tls.crt tls.key tokens.map grafana_password
pwd
