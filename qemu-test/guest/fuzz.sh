#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# fuzz.sh ARGUMENT...: runs the fuzzer in the guest, and keeps what its coverage is computed from.
/crust/fuzz/fuzz --coverage /tmp/coverage "$@"
status=$?
if [ -s /tmp/coverage ]; then
	cp /tmp/coverage /proc/kallsyms /results/
fi
exit $status
