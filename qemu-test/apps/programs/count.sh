# SPDX-License-Identifier: Apache-2.0 OR MIT
# Counts lines as they come.
echo it counts
n=0
while read -r line; do
	n=$((n + 1))
	echo "line $n: $line"
done
echo "lines: $n"
