#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Runs in the guest: the kselftests of the series, one after another, each with its own KTAP. The stress has a script
# of its own.

failed=0
for program in /crust/selftests/*; do
	name=${program##*/}
	[ "$name" != stress ] || continue
	echo "# $name"
	"$program"
	status=$?
	# 4 is kselftest's way to say that all was skipped.
	if [ $status -ne 0 ] && [ $status -ne 4 ]; then
		echo "# $name ended with status $status"
		failed=1
	fi
done
exit $failed
