#!/usr/bin/env bash
# Puts programs of the Kubernetes version pinned in go.mod into bin/k8s, unless they exist in that version.
# Downloads prebuilt ones where it can, and compiles the others from the Go modules.
# Usage: hack/kubernetes/build.sh kube-apiserver etcd kubectl …
set -euo pipefail
cd "$(dirname "$0")"
bin=$(cd ../.. && pwd)/bin/k8s

say() { echo "Kubernetes: $*"; }

elapsed() { # SINCE, in seconds of this script
	local seconds=$((SECONDS - $1))
	if ((seconds < 60)); then echo "${seconds}s"; else echo "$((seconds / 60))m$((seconds % 60))s"; fi
}

pinned() { # MODULE: its version in go.mod
	awk -v module="$1" '{ for (i = 1; i < NF; i++) if ($i == module && $(i + 1) ~ /^v/) print $(i + 1) }' \
		"${2:-.}/go.mod"
}

# A program is a package of a module (folder), with the version it is stamped with, and flags for go build.
describe() { # PROGRAM
	local major minor variable
	folder=. cgo=0 flags=(-trimpath)
	case $1 in
	etcd)
		package=./etcd version=$(pinned go.etcd.io/etcd/server/v3)
		flags+=(-ldflags "-s -w")
		;;
	kubectl | kubelet | kube-*)
		package=k8s.io/kubernetes/cmd/$1 version=$(pinned k8s.io/kubernetes)
		major=${version%%.*} minor=${version#*.} variable=k8s.io/component-base/version
		# kubectl cannot parse the version of a binary without these.
		flags+=(-ldflags "-s -w -X $variable.gitVersion=$version \
			-X $variable.gitMajor=${major#v} -X $variable.gitMinor=${minor%%.*}")
		;;
	containerd | containerd-shim-runc-v2 | ctr)
		folder=node package=github.com/containerd/containerd/v2
		version=$(pinned $package $folder)
		flags+=(-ldflags "-s -w -X $package/version.Version=$version")
		package+=/cmd/$1
		;;
	runc)
		# Without seccomp runc refuses the profile that the restricted Pod security level asks for.
		folder=node cgo=1 package=github.com/opencontainers/runc
		version=$(pinned $package $folder)
		flags+=(-tags seccomp -ldflags "-s -w")
		;;
	bridge | loopback | host-local)
		folder=node package=github.com/containernetworking/plugins
		version=$(pinned $package $folder)
		flags+=(-ldflags "-s -w")
		if [ "$1" = host-local ]; then package+=/plugins/ipam/$1; else package+=/plugins/main/$1; fi
		;;
	coredns)
		folder=node package=./coredns version=$(pinned github.com/coredns/coredns node)
		flags+=(-ldflags "-s -w")
		;;
	pause)
		folder=../.. package=./hack/node/pause version=1
		flags+=(-ldflags "-s -w")
		;;
	*)
		echo "hack/kubernetes/build.sh: no program named $1" >&2
		exit 2
		;;
	esac
}

wanted() { # PROGRAM…: those not yet there in the pinned version
	local program package version flags folder cgo
	for program; do
		describe "$program"
		[ -x "$bin/$program" ] && [ "$(cat "$bin/.$program.version" 2>/dev/null)" = "$version" ] || echo "$program"
	done
}

# A failed download is remembered: an interrupted build continues without trying again.
download() {
	local kubernetes refused program package version flags folder cgo setup assets since=$SECONDS
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

# Installs what a node needs from the distribution: a header for runc, nft for kube-proxy.
packages() {
	local missing=()
	[ -e /usr/include/seccomp.h ] || missing+=(libseccomp-dev)
	command -v nft >/dev/null || missing+=(nftables)
	command -v ip >/dev/null || missing+=(iproute2)
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
		echo "hack/kubernetes/build.sh: a node needs these Debian packages or their like: ${missing[*]}" >&2
		exit 1
	fi
	say "installing ${missing[*]}"
	apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
		{ apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >/dev/null
}

compile() { # PROGRAM, ABOUT HOW LONG
	local package version flags folder cgo since=$SECONDS packages=0 line
	describe "$1"
	say "compiling $1 $version from source, $2 …"
	rm -f "$bin/.$1.version"
	CGO_ENABLED=$cgo go build -C $folder -v "${flags[@]}" -o "$bin/$1" "$package" 2>&1 | while read -r line; do
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
case " $* " in *' kubelet '*) packages ;; esac
[ -n "$missing" ] || exit 0
download
time="about 6 minutes on two cores unless compiled before"
for program in $(wanted "$@"); do
	compile "$program" "$time"
	time="about a minute" # they share most packages with the first
done
say "ready in $(elapsed 0): $bin"
