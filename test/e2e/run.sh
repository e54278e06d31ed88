#!/usr/bin/env bash
# Runs the suite on the kind cluster of KUBECONFIG, or on a node that it boots. "make e2e" calls it.
set -euo pipefail
cd "$(dirname "$0")/../.."

if [ -n "${KUBECONFIG:-}" ]; then
	if ! command -v kind >/dev/null || ! command -v kubectl >/dev/null; then
		echo 'e2e: KUBECONFIG is set, but kind, which loads the images, or kubectl is missing: install them, or unset KUBECONFIG to boot a node here' >&2
		exit 1
	fi
	on=()
elif [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ]; then
	make node-programs
	on=(bin/node)
else
	echo 'e2e: set KUBECONFIG to a kind cluster, or run this as root on Linux, which boots a node of its own' >&2
	exit 1
fi

echo 'e2e: building the suite and its images …'
arch=$(go env GOARCH)
make image ARCHS="$arch" IMG=plexlink.dev/e2e/operator:1
mkdir -p bin/e2e && cp "bin/image/plexlink-$arch.tar" bin/e2e/operator.tar
CGO_ENABLED=0 go build -trimpath -o bin/e2e/ ./hack/plexsim ./test/e2e/mediaapp
go test -c -tags e2e -o bin/e2e/suite ./test/e2e
export OPERATOR_IMAGE=plexlink.dev/e2e/operator:1 OPERATOR_ARCHIVE=$PWD/bin/e2e/operator.tar
export PATH=$PWD/bin:$PATH
"${on[@]}" sh -c 'cd test/e2e && ../../bin/e2e/suite -test.v -test.failfast -test.timeout 30m "$@"' suite "$@"
