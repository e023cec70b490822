#!/bin/sh
# Makes a local certificate authority and a leaf certificate signed by it, for trying TLS out.
#
#   certs/make.sh [FOLDER [NAME …]]        default: this folder, for localhost
#
# Leaves ca.pem (give it to clients), relay.pem (leaf, then authority) and relay.key (0600). Keys are never
# part of the repository.
set -eu
umask 077
folder=${1:-$(dirname "$0")}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- localhost
command -v openssl >/dev/null || { echo "certs/make.sh: openssl is missing; install the package openssl" >&2; exit 69; }
names="IP:127.0.0.1,IP:::1"
for name in "$@"; do names="DNS:$name,$names"; done

mkdir -p "$folder"
cd "$folder"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -keyout ca.key -out ca.pem \
    -subj "/CN=waystation local CA" -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout relay.key -out relay.csr -subj "/CN=$1" 2>/dev/null
printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth\nkeyUsage=critical,digitalSignature\n' "$names" > relay.ext
openssl x509 -req -in relay.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile relay.ext -out leaf.pem 2>/dev/null
cat leaf.pem ca.pem > relay.pem
rm -f relay.csr relay.ext leaf.pem ca.srl ca.key
chmod 644 ca.pem relay.pem
echo "$folder: relay.pem and relay.key for $*, ca.pem for clients to trust"
