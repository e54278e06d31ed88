#!/usr/bin/env bash
# Seeds one mistake at a time in the operator, without changing a file of the repository, and expects the proof of that kind
# of mistake to fail. With an argument: only mistakes whose names contain it. With ALONE=1 it expects instead that no other test
# fails: all other tests see all mistakes at once, and each proof sees those of the other proofs.
set -euo pipefail
cd "$(dirname "$0")/.."
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
names=() files=() scripts=() tests=() runs=()

mutant() { # NAME FILE SED-SCRIPT TEST PACKAGE ARGUMENT…
	[[ $1 == *"$only"* ]] || return 0
	names+=("$1") files+=("$2") scripts+=("$3") tests+=("$4")
	shift 3
	runs+=("$(printf '%q ' "$@")")
}

# seed writes the overlay with some mistakes.
seed() { # INDEX…
	local i copy json=''
	rm -rf "$temp/source"
	for i in "$@"; do
		copy=$temp/source/${files[i]}
		if [ ! -f "$copy" ]; then
			mkdir -p "$(dirname "$copy")"
			cp "${files[i]}" "$copy"
			json+=",\"$PWD/${files[i]}\": \"$copy\""
		fi
		cp "$copy" "$temp/before.go"
		sed -E -i "${scripts[i]}" "$copy"
		if cmp -s "$copy" "$temp/before.go"; then
			echo "${names[i]}: the mistake no longer applies to ${files[i]}" >&2
			exit 1
		fi
	done
	echo "{\"Replace\": {${json#,}}}" >"$temp/overlay.json"
}

# notices runs tests with the seeded mistakes and succeeds if one of them fails.
notices() { # PACKAGE ARGUMENT…
	local package=$1 folder=$1
	shift
	go test -overlay "$temp/overlay.json" -c -o "$temp/mutant.test" "./$package" || exit 1 # set -e is off in conditions.
	[[ $* != *-test.fuzz=* ]] || folder=$temp # It would leave the input in the package.
	if (cd "$folder" && "$temp/mutant.test" -test.timeout 20m "$@" >"$temp/log" 2>&1); then
		return 1
	elif ! grep -E '^ *--- FAIL' "$temp/log" >"$temp/failed"; then
		tail "$temp/log" >&2
		exit 1
	fi
}

only=${1:-}
stories=test/stories every=TestEveryCallMayFail
mutant 'former Secrets are deleted only right after the new one was created' internal/controller/secret.go \
	's/^\treturn r.deleteFormer\(ctx, s\)/\tif action != createSecret {\
		return nil\
	}\
&/' \
	$every $stories -story='rename twice' -call='dies before'
mutant 'a new process trusts its first list' internal/controller/plexlink_controller.go \
	's/case e != nil \&\& !gone \&\& (e.uid == .*):$/case !gone \&\& (e == nil \&\& link.DeletionTimestamp == nil || e != nil \&\& \1):/' \
	$every $stories -exhaustive -story='delete with Revoke' -call='old lists'
mutant 'the content hash leaves out annotations' internal/controller/secret.go \
	's/secret.Labels, secret.Annotations, secret.Data, secret.OwnerReferences/secret.Labels, secret.Data, secret.OwnerReferences/' \
	TestEveryFieldGoesFromEachValueToEachOther $stories
# One history of some hundred notices this one; the seed is that of one which does. A change of the commands needs another.
mutant 'former Secrets of a link with a template stay' internal/controller/secret.go \
	's/^\tsecrets, err := r.cachedSecrets\(ctx, s.link\)/\tif s.link.Spec.Secret.Template != nil {\
		return nil\
	}\
&/' \
	TestEndDoesNotDependOnTheHistory $stories -rapid.checks=1 -rapid.seed=17503815247101076777 -rapid.shrinktime=1s
mutant 'the address in use leaves the state before the new one is in it' internal/controller/server.go \
	's/^\ts.state = s.state.serverProven\(.*/\tif before := s.state; before.Server.URL != "" \&\& before.Server.URL != found.URL {\
		s.state.Server = server{}\
		_ = r.save(ctx, s)\
		s.state = before\
	}\
&/' \
	$every $stories -story=move -call=none
mutant 'a status that was not written is not written again' internal/controller/plexlink_controller.go \
	'/"Could not write the status/,/\}/ s/s.requeue\(retryInterval\)//' \
	TestAPIServerFaultMatrix $stories
mutant 'the name of a Service is not checked' internal/plex/candidates.go \
	's/if err == nil \&\& isService\(u.Hostname\(\), p.ClusterDomain\)/if err == nil/' \
	FuzzCandidates internal/plex -test.fuzz=FuzzCandidates -test.fuzztime=60s -test.fuzzcachedir="$temp/corpora"

if [ -z "${ALONE:-}" ]; then
	noticed=0
	for i in "${!names[@]}"; do
		start=$SECONDS
		seed "$i"
		eval "set -- ${runs[i]}" # TEST PACKAGE ARGUMENT…
		if notices "$2" -test.run "^$1\$" "${@:3}"; then
			noticed=$((noticed + 1))
			echo "${names[i]}: $1 noticed it in $((SECONDS - start))s"
		else
			echo "${names[i]}: $1 did not notice"
		fi
	done
	echo "mutants: $noticed of ${#names[@]} noticed"
	[ "$noticed" = "${#names[@]}" ]
	exit
fi

# without prints the numbers of the mistakes that a test should not notice.
without() { # TEST
	for i in "${!names[@]}"; do
		[ "${tests[i]}" = "$1" ] || echo "$i"
	done
}

failures=0
others() { # WHAT PACKAGE ARGUMENT…
	if notices "${@:2}"; then
		failures=$((failures + 1))
		echo "$1 noticed a mistake:"
		cat "$temp/failed"
	fi
}

mapfile -t proofs < <(printf '%s\n' "${tests[@]}" TestFaultMatrix | sort -u)
skip="^($(IFS='|' && echo "${proofs[*]}"))\$"
seed $(without '')
for package in internal/controller internal/plex test/stories; do
	others "$package without the proofs" "$package" -test.skip "$skip" -test.parallel 12
done
for proof in "${proofs[@]}"; do
	[ "$proof" != FuzzCandidates ] || continue
	seed $(without "$proof")
	others "$proof" $stories -test.run "^$proof\$"
done
echo "mutants: $failures other tests noticed one"
[ "$failures" = 0 ]
