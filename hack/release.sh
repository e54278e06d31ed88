#!/usr/bin/env bash
# The steps of a release besides building its files. "make release-commit" and the release workflow call it.
set -euo pipefail
cd "$(dirname "$0")/.."

usage='usage: hack/release.sh prepare|check|notes vMAJOR.MINOR.PATCH'
command=${1:?$usage}
version=${2:?$usage}
if ! [[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]]; then
	echo "release: $version is not a version such as v0.1.0" >&2
	exit 1
fi
chart=charts/plexlink/Chart.yaml

# notes prints the section of the changelog.
notes() {
	awk -v heading="## [${version#v}]" 'index($0, "## [") == 1 { found = index($0, heading) == 1; next } found' CHANGELOG.md
}

case $command in
prepare) # Names the version wherever a file does; commit and tag the result.
	sed -i "s/^version: .*/version: ${version#v}/; s/^appVersion: .*/appVersion: $version/
		s#\(image: ghcr.io/plexlink/operator:\).*#\1$version#" "$chart"
	sed -i "s/newTag: .*/newTag: $version/" config/manager/kustomization.yaml
	sed -i "s/?ref=v[0-9][^']*/?ref=$version/" docs/operations.md
	sed -i "s/targetRevision: .*/targetRevision: ${version#v}/" docs/argocd.md
	sed -i "s#operator:v[0-9.]*#operator:$version#; s#refs/tags/v[0-9.]*#refs/tags/$version#
		s#charts/plexlink:[0-9.]*#charts/plexlink:${version#v}#" SECURITY.md charts/plexlink/README.md
	if ! grep -qF "## [${version#v}]" CHANGELOG.md; then
		sed -i "s/^## \[Unreleased\]$/&\n\n## [${version#v}] - $(date -u +%F)/" CHANGELOG.md
	fi
	;;
check) # Fails when a file names another version than the tag, or the changelog has nothing to say.
	failed=0
	has() { # FILE LINE
		grep -qxF -- "$2" "$1" || { echo "release: $1 does not have the line: $2" >&2; failed=1; }
	}
	has "$chart" "version: ${version#v}"
	has "$chart" "appVersion: $version"
	has "$chart" "      image: ghcr.io/plexlink/operator:$version"
	has config/manager/kustomization.yaml "  newTag: $version"
	[ -n "$(notes)" ] || { echo "release: CHANGELOG.md has no section for $version" >&2; failed=1; }
	exit $failed
	;;
notes)
	notes
	;;
*)
	echo "$usage" >&2
	exit 1
	;;
esac
