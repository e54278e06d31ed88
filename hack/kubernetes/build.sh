#!/usr/bin/env bash
# Puts programs of the Kubernetes pinned in go.mod into bin/k8s; those which are there in that version cost nothing.
# Prebuilt ones are taken where they can be downloaded, the others are compiled from the Go modules.
# Usage: hack/kubernetes/build.sh kube-apiserver etcd kubectl …
set -euo pipefail
cd "$(dirname "$0")"
bin=$(cd ../.. && pwd)/bin/k8s

say() { echo "control plane: $*"; }

elapsed() { # SINCE, in seconds of this script
	local seconds=$((SECONDS - $1))
	if ((seconds < 60)); then echo "${seconds}s"; else echo "$((seconds / 60))m$((seconds % 60))s"; fi
}

pinned() { # MODULE: its version in go.mod
	awk -v module="$1" '{ for (i = 1; i < NF; i++) if ($i == module && $(i + 1) ~ /^v/) print $(i + 1) }' go.mod
}

# A program is a package, the version it is stamped with, and flags for go build.
describe() { # PROGRAM
	flags=(-trimpath)
	case $1 in
	etcd)
		package=./etcd version=$(pinned go.etcd.io/etcd/server/v3)
		flags+=(-ldflags "-s -w")
		;;
	kubectl | kube-*)
		package=k8s.io/kubernetes/cmd/$1 version=$(pinned k8s.io/kubernetes)
		local major=${version%%.*} minor=${version#*.} variable=k8s.io/component-base/version
		# kubectl cannot parse the version of a binary without these.
		flags+=(-ldflags "-s -w -X $variable.gitVersion=$version \
			-X $variable.gitMajor=${major#v} -X $variable.gitMinor=${minor%%.*}")
		;;
	*)
		echo "hack/kubernetes/build.sh: no program named $1" >&2
		exit 2
		;;
	esac
}

wanted() { # PROGRAM…: those not yet there in the pinned version
	local program package version flags
	for program; do
		describe "$program"
		[ "$(cat "$bin/.$program.version" 2>/dev/null)" = "$version" ] || echo "$program"
	done
}

# The refusal is remembered: an interrupted build goes on without asking again.
download() {
	local kubernetes refused program package version flags setup assets since=$SECONDS
	kubernetes=$(pinned k8s.io/kubernetes)
	refused=$bin/.$kubernetes.not-prebuilt
	[ ! -e "$refused" ] || return 0
	say "looking for prebuilt binaries of Kubernetes ${kubernetes%.*} …"
	setup=$(cd ../tools && go tool -n setup-envtest)
	mkdir -p "$bin"
	if ! assets=$(timeout 90 "$setup" use "${kubernetes#v}" --bin-dir "$bin/.prebuilt" -p path 2>/dev/null); then
		rm -rf "$bin/.prebuilt"
		touch "$refused"
		say "none can be downloaded here, compiling instead"
		return
	fi
	for program in kube-apiserver etcd kubectl; do
		describe "$program"
		mv -f "$assets/$program" "$bin/$program"
		echo "$version" >"$bin/.$program.version"
	done
	rm -rf "$bin/.prebuilt"
	say "downloaded kube-apiserver, etcd and kubectl in $(elapsed $since)"
}

compile() { # PROGRAM, ABOUT HOW LONG
	local package version flags since=$SECONDS packages=0 line
	describe "$1"
	say "compiling $1 $version from source, $2 …"
	rm -f "$bin/.$1.version"
	CGO_ENABLED=0 go build -v "${flags[@]}" -o "$bin/$1" "$package" 2>&1 | while read -r line; do
		case $line in
		'go: downloading '*) ;;
		*[\ :#]*) echo "$line" ;;
		*) ((++packages % 250)) || say "  $packages packages after $(elapsed $since)" ;;
		esac
	done
	echo "$version" >"$bin/.$1.version"
	say "$1 done in $(elapsed $since)"
}

missing=$(wanted "$@")
[ -n "$missing" ] || exit 0
download
time="about 6 minutes on two cores unless compiled before"
for program in $(wanted "$@"); do
	compile "$program" "$time"
	time="about a minute" # they share most packages with the first
done
say "ready in $(elapsed 0): $bin"
