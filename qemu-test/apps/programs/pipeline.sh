# SPDX-License-Identifier: Apache-2.0 OR MIT
# A pipeline that goes on for a while: factor is slow, sort keeps all until its end, with temporary files.
set -euo pipefail
mkfifo copy
sha256sum <copy >sum.copy &
seq 1000000000001 3 1000000180000 |
	factor |
	tr ':' '\t' |
	sed -E 's/ +/,/g' |
	tee factors |
	cut -f 2 |
	sort -t, -k2,2n -k1,1r -S 1M -T . |
	tee sorted |
	tr ',' '\n' |
	sort -n -S 1M -T . |
	uniq -c |
	nl |
	tee copy |
	fold -w 7 |
	od -c |
	sha256sum >sum.end
wait
