#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# fuzz.sh ARGUMENT...: runs the fuzzer in the guest, and keeps what its coverage is computed from.

# An allocation that is made to fail can be the one behind the kernel's write to an area of rseq, which is a SIGSEGV
# (kernel/rseq.c) and no fault of a request: the fuzzer has none.
export GLIBC_TUNABLES=glibc.pthread.rseq=0
/crust/fuzz/fuzz --coverage /tmp/coverage "$@"
status=$?
if [ -s /tmp/coverage ]; then
	cp /tmp/coverage /proc/kallsyms /results/
fi
exit $status
