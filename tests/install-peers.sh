#!/usr/bin/env bash
# Installs the foreign programs that the tests talk to: Postfix with its smtp-source and smtp-sink, Cyrus SASL's
# password database, swaks, openssl, strace, xfs_io, eatmydata, ip, unshare, LibreOffice's spreadsheet, and Python with dkimpy and authres, django-anymail,
# openpyxl and standardwebhooks. Does nothing where they are there already. Needs root and Debian's packages; the tests
# call it, and leave out what they can't have, with a printed reason.
set -euo pipefail

missing=()
for pair in smtp-source:postfix swaks:swaks openssl:openssl strace:strace python3:python3 saslpasswd2:sasl2-bin \
    xfs_io:xfsprogs mkfs.ext4:e2fsprogs eatmydata:eatmydata ip:iproute2 unshare:util-linux \
    soffice:libreoffice-calc-nogui; do
    command -v "${pair%%:*}" >/dev/null || [ -x "/usr/sbin/${pair%%:*}" ] || [ -x "/sbin/${pair%%:*}" ] || missing+=("${pair##*:}")
done
# swaks speaks TLS and IPv6, and Postfix logs in, only with these.
perl -MNet::SSLeay -e 1 2>/dev/null || missing+=(libnet-ssleay-perl)
perl -MIO::Socket::INET6 -e 1 2>/dev/null || missing+=(libio-socket-inet6-perl)
compgen -G '/usr/lib/*/sasl2/libplain.so' >/dev/null || missing+=(libsasl2-modules)
compgen -G '/usr/lib/*/sasl2/libsasldb.so' >/dev/null || missing+=(libsasl2-modules-db)
if [ ${#missing[@]} -gt 0 ]; then
    export DEBIAN_FRONTEND=noninteractive
    if [[ " ${missing[*]} " == *" postfix "* ]]; then
        echo "postfix postfix/main_mailer_type select No configuration" | debconf-set-selections
    fi
    apt-get update -q >/dev/null
    apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null
fi
python3 -c 'import standardwebhooks' 2>/dev/null ||
    python3 -m pip install -q --root-user-action=ignore standardwebhooks || true
python3 -c 'import authres' 2>/dev/null || python3 -m pip install -q --root-user-action=ignore authres ||
    { apt-get update -q >/dev/null && apt-get install -y -q python3-authres >/dev/null; }
python3 -c 'import dkim' 2>/dev/null || python3 -m pip install -q --root-user-action=ignore dkimpy ||
    { apt-get update -q >/dev/null && apt-get install -y -q python3-dkim >/dev/null; }
python3 -c 'import anymail' 2>/dev/null || python3 -m pip install -q --root-user-action=ignore django-anymail
python3 -c 'import openpyxl' 2>/dev/null || python3 -m pip install -q --root-user-action=ignore openpyxl ||
    { apt-get update -q >/dev/null && apt-get install -y -q python3-openpyxl >/dev/null; }
