#!/usr/bin/env bash
# Packs the chart into the folder $1. CHART_SIGNING_KEY is an OpenPGP secret key without a passphrase, as
# "gpg --armor --export-secret-keys" prints it. With it the package is signed for "helm verify", Chart.yaml names the key for
# Artifact Hub, and the public key lies beside the package.
set -euo pipefail
out=$(realpath "$1")
cd "$(dirname "$0")/.."

if [ -z "${CHART_SIGNING_KEY:-}" ]; then
	exec bin/helm package charts/plexlink --destination "$out"
fi
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
trap 'gpgconf --kill all; rm -rf "$GNUPGHOME"' EXIT
gpg --batch --quiet --import <<<"$CHART_SIGNING_KEY"
gpg --batch --export-secret-keys >"$GNUPGHOME/secret.gpg"
gpg --batch --armor --export >"$out/chart-signing-key.asc"
field() { # RECORD NUMBER
	gpg --batch --with-colons --list-secret-keys | awk -F: -v record="$1" -v n="$2" '$1 == record { print $n; exit }'
}
version=$(sed -n 's/^appVersion: //p' charts/plexlink/Chart.yaml)
cp -r charts/plexlink "$GNUPGHOME/plexlink"
cat >>"$GNUPGHOME/plexlink/Chart.yaml" <<YAML
  artifacthub.io/signKey: |
    fingerprint: $(field fpr 10)
    url: https://github.com/plexlink/operator/releases/download/$version/chart-signing-key.asc
YAML
bin/helm package "$GNUPGHOME/plexlink" --destination "$out" --sign --key "$(field uid 10)" --keyring "$GNUPGHOME/secret.gpg"
