#!/usr/bin/env bash
# Seeds one mistake at a time in the operator, without changing a file of the repository, and expects the proof of that kind
# of mistake to fail. With an argument: only mistakes whose names contain it. With ALONE=1 all other tests are run as well,
# and must not notice it.
set -euo pipefail
cd "$(dirname "$0")/.."
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
only=${1:-} caught=0 total=0

mutant() { # NAME FILE SED-SCRIPT PACKAGE TEST ARGUMENT…
	local name=$1 file=$2 script=$3 package=$4 run=$5 start=$SECONDS folder=$4 others=''
	shift 5
	[[ $name == *"$only"* ]] || return 0
	total=$((total + 1))
	sed -E "$script" "$file" >"$temp/mutant.go"
	if cmp -s "$file" "$temp/mutant.go"; then
		echo "$name: the mistake no longer applies to $file"
		return
	fi
	printf '{"Replace": {"%s": "%s"}}' "$PWD/$file" "$temp/mutant.go" >"$temp/overlay.json"
	go test -overlay "$temp/overlay.json" -c -o "$temp/mutant.test" "./$package"
	[[ $run != Fuzz* ]] || folder=$temp # It would leave the input in the package.
	if (cd "$folder" && "$temp/mutant.test" -test.run "$run" "$@" >"$temp/log" 2>&1); then
		echo "$name: $run did not notice"
		return
	elif ! grep -q -e '--- FAIL' "$temp/log"; then
		echo "$name: $run ended with another error:"
		tail "$temp/log"
		return
	fi
	echo "$name: $run noticed it in $((SECONDS - start))s"
	if [ -n "${ALONE:-}" ]; then
		others=$(others "${run%%/*}")
		echo "$name: ${others:-no other test noticed it}"
	fi
	[ -n "$others" ] || caught=$((caught + 1))
}

# others runs all other tests, the proofs after the rest as in make test, and prints those that fail.
others() { # TEST
	local overlay=(-overlay "$temp/overlay.json")
	{
		go test "${overlay[@]}" -skip "^$1\$" ./internal/... ./cmd/... ./test/model
		go test "${overlay[@]}" -parallel 6 -timeout 25m -skip "^$1\$|$PROOFS" ./test/stories
		go test "${overlay[@]}" -timeout 15m -skip "^$1\$" -run "$PROOFS" ./test/stories
	} >"$temp/others" 2>&1 || true
	grep -E '^ *--- FAIL|^panic|\[build failed\]' "$temp/others" || true
}

mutant 'former Secrets are those that the status names' internal/controller/secret.go \
	's/if former.Name == targetName\(s.link\)/if former.Name != s.link.Status.SecretName || former.Name == targetName(s.link)/' \
	test/stories TestEveryCallMayFail -story 'rename twice at once'
mutant 'a new process trusts its first list' internal/controller/plexlink_controller.go \
	's/case e != nil \&\& !gone \&\& (e.uid == .*):$/case !gone \&\& (e == nil \&\& link.DeletionTimestamp == nil || e != nil \&\& \1):/' \
	test/stories TestEveryCallMayFail -exhaustive -story 'delete with Revoke' -call 'old lists'
mutant 'the content hash leaves out annotations' internal/controller/secret.go \
	's/secret.Labels, secret.Annotations, secret.Data, secret.OwnerReferences/secret.Labels, secret.Data, secret.OwnerReferences/' \
	test/stories 'TestEveryFieldGoesFromEachValueToEachOther/secret.template.metadata.annotations'
mutant 'a token of another account is dropped' internal/controller/state.go \
	's/if s.authorized\(\) \&\& s.Token != token/if s.authorized() \&\& s.Token == token/' \
	test/stories TestEndDoesNotDependOnTheHistory -rapid.shrinktime 1s
mutant 'a state that cannot be stored is forgotten' internal/controller/device.go \
	'/refusing to store device state/,/writeState/ s/r.memory.keep\(s.memory, s.state\)//' \
	test/stories TestAPIServerFaultMatrix
mutant 'the Secret is written before the state' internal/controller/secret.go \
	'/The state comes first/,/^\t}$/d' \
	test/stories TestEveryCallMayFail -story move -call none
mutant 'the name of a Service is not checked' internal/plex/candidates.go \
	's/if err == nil \&\& isService\(u.Hostname\(\), p.ClusterDomain\)/if err == nil/' \
	internal/plex FuzzCandidates -test.fuzz FuzzCandidates -test.fuzztime 60s -test.fuzzcachedir "$temp/corpora"

echo "mutants: $caught of $total noticed${ALONE:+ by their proof alone}"
[ "$caught" = "$total" ]
