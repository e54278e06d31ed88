#!/usr/bin/env bash
# Seeds one mistake at a time in the operator, without changing a file of the repository, and expects the proof of that kind
# of mistake to fail. With an argument: only mistakes whose names contain it.
set -euo pipefail
cd "$(dirname "$0")/.."
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
only=${1:-} caught=0 total=0

mutant() { # NAME FILE SED-SCRIPT TEST ARGUMENT…
	local name=$1 file=$2 script=$3 run=$4 start=$SECONDS
	shift 4
	[[ $name == *"$only"* ]] || return 0
	total=$((total + 1))
	sed -E "$script" "$file" >"$temp/mutant.go"
	if cmp -s "$file" "$temp/mutant.go"; then
		echo "$name: the mistake no longer applies to $file"
		return
	fi
	printf '{"Replace": {"%s": "%s"}}' "$PWD/$file" "$temp/mutant.go" >"$temp/overlay.json"
	go test -overlay "$temp/overlay.json" -c -o "$temp/mutant.test" ./test/stories
	if (cd test/stories && "$temp/mutant.test" -test.run "$run" "$@" >"$temp/log" 2>&1); then
		echo "$name: $run did not notice"
	elif ! grep -q -e '--- FAIL' "$temp/log"; then
		echo "$name: $run ended with another error:"
		tail "$temp/log"
	else
		caught=$((caught + 1))
		echo "$name: $run noticed it in $((SECONDS - start))s"
	fi
}

mutant 'former Secrets are those that the status names' internal/controller/secret.go \
	's/if former.Name == targetName\(s.link\)/if former.Name != s.link.Status.SecretName || former.Name == targetName(s.link)/' \
	TestEveryCallMayFail -story 'rename twice at once'
mutant 'a new process trusts its first list' internal/controller/plexlink_controller.go \
	's/case e != nil \&\& !gone \&\& (e.uid == .*):$/case !gone \&\& (e == nil \&\& link.DeletionTimestamp == nil || e != nil \&\& \1):/' \
	TestEveryCallMayFail -exhaustive -story 'delete with Revoke' -call 'old lists'
mutant 'the content hash leaves out annotations' internal/controller/secret.go \
	's/secret.Labels, secret.Annotations, secret.Data, secret.OwnerReferences/secret.Labels, secret.Data, secret.OwnerReferences/' \
	'TestEveryFieldGoesFromEachValueToEachOther/secret.template.metadata.annotations'
mutant 'a token of another account is dropped' internal/controller/state.go \
	's/if s.authorized\(\) \&\& s.Token != token/if s.authorized() \&\& s.Token == token/' \
	TestEndDoesNotDependOnTheHistory -rapid.shrinktime 1s
mutant 'a state that cannot be stored is forgotten' internal/controller/device.go \
	'/refusing to store device state/,/writeState/ s/r.memory.keep\(s.memory, s.state\)//' \
	TestAPIServerFaultMatrix

echo "mutants: $caught of $total noticed"
[ "$caught" = "$total" ]
