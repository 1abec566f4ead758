#!/bin/sh
# Makes the test certificates anew: all keys, certificates and revocation lists in this directory. See README.md.
set -eu
cd "$(dirname "$0")"
rm -f ./*.crt ./*.key ./*.crl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

LONG_AGO=20200101000000Z
PAST=20210101000000Z
FAR=21200101000000Z

# ca NAME SUBJECT [PARENT]: an authority with a database of its own, signed by PARENT or by itself.
ca() {
    mkdir "$work/$1"
    : > "$work/$1/index"
    echo 1000 > "$work/$1/serial"
    echo 1000 > "$work/$1/crlnumber"
    openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"
    cat > "$work/$1/config" <<CONFIG
[ca]
default_ca = here
[here]
database = $work/$1/index
serial = $work/$1/serial
crlnumber = $work/$1/crlnumber
new_certs_dir = $work/$1
certificate = $1.crt
private_key = $1.key
default_md = sha256
policy = any
unique_subject = no
copy_extensions = none
[any]
commonName = optional
organizationName = optional
[authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
CONFIG
    openssl req -new -key "$1.key" -subj "$2" -out "$work/request"
    if [ $# -eq 3 ]; then
        issue "$3" "$work/request" "$1.crt" "$LONG_AGO" "$FAR" "$(sed -n '/^\[authority\]/,$p' "$work/$1/config" | tail -n +2)"
    else
        openssl ca -batch -notext -config "$work/$1/config" -selfsign -keyfile "$1.key" -extensions authority \
            -startdate "$LONG_AGO" -enddate "$FAR" -in "$work/request" -out "$1.crt" 2>"$work/log" \
            || { cat "$work/log"; exit 1; }
    fi
}

# issue AUTHORITY REQUEST CERTIFICATE FROM TO EXTENSIONS
issue() {
    printf '%s\n' "$6" > "$work/extensions"
    openssl ca -batch -notext -preserveDN -config "$work/$1/config" -extfile "$work/extensions" \
        -startdate "$4" -enddate "$5" -in "$2" -out "$3" 2>"$work/log" || { cat "$work/log"; exit 1; }
}

# key KIND FILE: a private key as PKCS#8.
key() {
    case $1 in
        ec) openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$2" ;;
        rsa) openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$2" ;;
        ed25519) openssl genpkey -quiet -algorithm ED25519 -out "$2" ;;
    esac
}

# leaf AUTHORITY NAME KEY-KIND SUBJECT USAGE ALTERNATIVE-NAMES [FROM TO]
leaf() {
    key "$3" "$2.key"
    openssl req -new -key "$2.key" -subj "$4" -out "$work/request"
    extensions="basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = $5"
    if [ -n "$6" ]; then
        extensions="$extensions
subjectAltName = $6"
    fi
    issue "$1" "$work/request" "$2.crt" "${7:-$LONG_AGO}" "${8:-$FAR}" "$extensions"
}

ca ca "/O=mqtt-broker tests/CN=Test CA"
ca intermediate "/O=mqtt-broker tests/CN=Test intermediate CA" ca
ca other-ca "/O=mqtt-broker tests/CN=Another CA"

LOCAL="DNS:localhost, IP:127.0.0.1, IP:::1"
leaf ca server ec "/CN=localhost" serverAuth "$LOCAL"
leaf ca server-renewed ec "/CN=localhost" serverAuth "$LOCAL"
leaf ca server-rsa rsa "/CN=localhost" serverAuth "$LOCAL"
leaf ca server-ed25519 ed25519 "/CN=localhost" serverAuth "$LOCAL"
leaf ca server-sni ec "/CN=broker.example" serverAuth "DNS:broker.example, DNS:*.wild.example"
leaf ca server-expired ec "/CN=localhost" serverAuth "$LOCAL" "$LONG_AGO" "$PAST"
leaf intermediate server-chain ec "/CN=localhost" serverAuth "$LOCAL"
cat intermediate.crt >> server-chain.crt

# The same keys in their other forms.
openssl pkey -in server.key -traditional -out server-sec1.key
openssl pkey -in server-rsa.key -traditional -out server-rsa-pkcs1.key
openssl pkcs8 -topk8 -in server.key -out server-encrypted.key -passout pass:secret
openssl rsa -in server-rsa.key -traditional -aes128 -passout pass:secret -out server-rsa-encrypted.key 2>/dev/null

CLIENT="DNS:device1.example, DNS:also.example, URI:urn:example:device1"
leaf ca client ec "/O=Example, Inc./CN=device1" clientAuth "$CLIENT"
leaf ca client-rsa rsa "/CN=device1" clientAuth ""
leaf ca client-other ed25519 "/CN=device2" clientAuth ""
leaf ca client-nameless ec "/O=Example" clientAuth ""
leaf ca client-expired ec "/CN=device1" clientAuth "" "$LONG_AGO" "$PAST"
leaf ca client-revoked ec "/CN=device1" clientAuth ""
leaf intermediate client-chain ec "/CN=device3" clientAuth ""
cat intermediate.crt >> client-chain.crt
leaf other-ca client-unknown ec "/CN=device1" clientAuth ""

openssl ca -config "$work/ca/config" -gencrl -crl_lastupdate "$LONG_AGO" -crl_nextupdate "$FAR" -out none.crl 2>/dev/null
openssl ca -config "$work/ca/config" -revoke client-revoked.crt 2>/dev/null
openssl ca -config "$work/ca/config" -gencrl -crl_lastupdate "$LONG_AGO" -crl_nextupdate "$FAR" -out ca.crl 2>/dev/null
chmod 644 ./*.key
