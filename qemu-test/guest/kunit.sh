#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Runs in the guest, on the debug kernel: the KUnit tests of the series, and the examples in the documentation of its Rust
# abstraction. Which of all examples these are is said in kernel-patches/config.debug.

mount -t debugfs debugfs /sys/kernel/debug || exit 1
cd /sys/kernel/debug/kunit || exit 1

for suite in ckpt rust_doctests_kernel; do
	if echo run >$suite/run; then
		# The tests are one level in.
		sed -n 's/^    \([^ ]\)/\1/p' $suite/results
	else
		printf 'TAP version 13\nBail out! no suite %s\n' $suite
	fi
done
