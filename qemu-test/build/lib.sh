# SPDX-License-Identifier: Apache-2.0 OR MIT
# shellcheck shell=bash
#
# Shared by the scripts beside it: where products live, how they are named, and how a command runs as root or in the
# build root. Every script prints the path of its product as the only line on stdout; all else goes to stderr.
#
# A product is named by a hash of what it is made from and appears by a rename, so that what is there is whole: a
# download or a build that was cut off leaves a temporary directory, which the next run removes.

set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
umask 022

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(cd "$scripts/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/crust
mkdir -p "$cache"

say() { printf '  %-8s %s\n' "$1" "$2" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

as_root() {
	if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# use_flavour NAME: what a kernel of that flavour is made of: sets `fragments`, and `options`, which are arguments of make
# for it and for its module.
use_flavour() {
	# The objects in which the code of the series is say which of their lines run (KCOV); no others do, and so it
	# costs nothing. Kbuild takes this as if it stood in the Makefiles.
	local object coverage=(KCOV_INSTRUMENT_ckpt.o=y RUSTFLAGS_ckpt.o=-Cdebuginfo=1)
	for object in checkpoint tcp_checkpoint pid; do
		coverage+=("KCOV_INSTRUMENT_$object.o=y" "CFLAGS_$object.o=-g1")
	done
	fragments=(kernel-patches/config.fragment) options=()
	case $1 in
	plain) ;;
	debug) fragments+=(kernel-patches/config.debug) options=("${coverage[@]}") ;;
	# Rust and KASAN go together with clang only.
	kasan) fragments+=(kernel-patches/config.{debug,kasan}) options=("${coverage[@]}" LLVM=1) ;;
	kcsan) fragments+=(kernel-patches/config.kcsan) ;;
	*) die "no such flavour: $1" ;;
	esac
}

# key: a short name for what is read from stdin.
key() { sha256sum | cut -c1-16; }

# contents FILE...: the files' bytes with their names, as input of `key`.
contents() { (cd "$top" && sha256sum -- "$@"); }

# lock NAME: one builder of a product at a time; the others wait and then find it done.
lock() {
	exec 9>"$cache/$1.lock"
	flock -n 9 || { say WAIT "another run is busy with $1"; flock 9; }
}

# hold_tree TREE ID: keeps the patched tree from being changed while something is compiled from it (`tree` itself takes
# the lock exclusively). Fails if the tree holds something else; the caller then starts over.
hold_tree() {
	exec 8>"$cache/tree.lock"
	flock -s 8
	[ "$(cat "$1.content" 2>/dev/null)" = "$2" ]
}

# start_over ARGUMENTS...: for when another clone has changed what this script was about to use.
start_over() {
	exec 8>&- 9>&-
	exec "$0" "$@"
}

# workdir NAME: an empty directory in the cache (a rename must not cross file systems). To be called with the product's
# lock held: whatever an interrupted run left there is removed.
workdir() {
	as_root rm -rf --one-file-system "$cache/tmp/$1"
	mkdir -p "$cache/tmp/$1"
	echo "$cache/tmp/$1"
}

# logged NAME COMMAND...: runs a long command; its output is a file, shown only if it fails (all of it with V=1).
logged() {
	local log=$cache/log/$1.log
	shift
	mkdir -p "$cache/log"
	if [ "${V:-0}" != 0 ]; then
		"$@" 2>&1 | tee "$log" >&2
		return
	fi
	"$@" >"$log" 2>&1 </dev/null || {
		local status=$?
		tail -n 40 "$log" >&2
		say FAILED "all of it: $log"
		return $status
	}
}

# in_root ROOT [--bind HOST INSIDE]... [--cd DIR] -- COMMAND...: runs a command as the calling user in a chroot. The
# mounts are made in a private mount namespace, so that none is left behind however the command ends.
in_root() {
	local root=$1
	shift
	# shellcheck disable=SC2016 # expanded by that bash
	as_root unshare --mount --propagation private -- bash -euc '
		root=$1 user=$2 dir=/
		shift 2
		while [ "$1" != -- ]; do
			case $1 in
			--bind) mkdir -p "$root$3"; mount --bind "$2" "$root$3"; shift 3 ;;
			--cd) dir=$2; shift 2 ;;
			esac
		done
		shift
		mount -t proc proc "$root/proc"
		mount --rbind /dev "$root/dev"
		exec chroot --userspec="$user" "$root" sh -c "cd \"\$0\" && exec \"\$@\"" "$dir" \
			env -i PATH=/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin HOME=/tmp LC_ALL=C.UTF-8 "$@"
	' in_root "$root" "$(id -u):$(id -g)" "$@"
}

# in_build COMMAND...: in the build root, in the build directory `build` of the kernel source `tree`.
in_build() {
	# shellcheck disable=SC2154 # both are the caller's
	in_root "$root" --bind "$tree" /crust/linux --bind "$build" /crust/build \
		--bind "$top/kernel-patches" /crust/patches --cd /crust/build -- "$@"
}

# compile NAME BASE TARGET...: configures and brings the build directory up to date.
compile() {
	local name=$1 base=$2 status=0
	shift 2
	# An interrupted make removes what it was writing; only if the script itself was killed may a half-written
	# object be left that make would take for good.
	[ ! -e "$build/unfinished" ] || as_root rm -rf --one-file-system "$build"
	mkdir -p "$build"
	rm -f "$build/content"
	touch "$build/unfinished"
	{ logged "configure-$name" configure "$base" &&
		logged "kernel-$name" in_build env KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=crust KBUILD_BUILD_HOST=crust \
			make -j"$(nproc)" ARCH=x86 "${options[@]}" "$@"; } || status=$?
	rm -f "$build/unfinished"
	return $status
}

# configure BASE: BASE (tinyconfig) plus `fragments` of kernel-patches/, and nothing of them lost: a symbol that Kconfig
# dropped would only be noticed much later, as a program that the guest cannot run.
configure() {
	in_build make -C /crust/linux O=/crust/build ARCH=x86 "${options[@]}" "$1"
	in_build /crust/linux/scripts/kconfig/merge_config.sh -m -O /crust/build /crust/build/.config \
		"${fragments[@]/#kernel-patches//crust/patches}"
	in_build make ARCH=x86 "${options[@]}" olddefconfig
	local lost
	lost=$(cd "$top"; sed -nE 's/^(CONFIG_[A-Z0-9_]+=.*)/\1/p' "${fragments[@]}" | grep -vxF -f "$build/.config" || true)
	[ -z "$lost" ] && return
	echo "not in the final configuration: ${lost//$'\n'/ }"
	# One's own source may be older and not know an option, nor does a part of the series.
	[ -n "${KDIR:-}${KERNEL_TARBALL:-}${PATCHES:-}" ]
}
