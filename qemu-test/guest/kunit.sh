#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Runs in the guest, on the debug kernel: the KUnit tests of the series, and the examples of the documentation of its Rust
# abstraction. Those of the rest of the kernel crate run too, as KUnit runs whole suites; how many passed is said, and
# only ours are reported, one by one.

mount -t debugfs debugfs /sys/kernel/debug || exit 1
cd /sys/kernel/debug/kunit || exit 1

# run SUITE NAMES: runs a suite, and reports the tests of these names (a pattern of awk), which are one level in.
run() {
	echo "TAP version 13"
	if ! echo run >"$1/run"; then
		echo "Bail out! no suite $1"
		return
	fi
	awk -v suite="$1" -v names="$2" '
		!/^    [^ ]/ { next }
		$1 == "ok" || $1 == "not" {
			name = $1 == "ok" ? $3 : $4
			all++
			passed += $1 == "ok"
			if (name !~ names)
				next
			text = $0
			sub(/^ *(not )?ok [0-9]+ (- )?/, "", text)
			print ($1 == "ok" ? "ok " : "not ok ") ++ours " - " suite ": " text
			next
		}
		$1 == "#" && $2 ~ names { print substr($0, 5) }
		END {
			print "# " suite ": " passed + 0 " of " all + 0 " passed"
			print "1.." (ours ? ours : 1)
		}' "$1/results"
}

run ckpt .
run rust_doctests_kernel '^rust_doctest_kernel_checkpoint_'
