#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# Runs in the guest: ckpt.ko can be loaded and unloaded again and again, leaves nothing behind, and stays while it is
# in use.

module=/crust/ckpt.ko
number=0
failed=0

result() { # result STATUS TEXT
	number=$((number + 1))
	if [ "$1" -eq 0 ]; then echo "ok $number - $2"; else echo "not ok $number - $2"; failed=1; fi
}

# What of the module can be seen from outside.
traces() {
	ls /dev/ckpt /sys/class/misc/ckpt /sys/module/ckpt 2>/dev/null
	grep -w ckpt /proc/misc /proc/modules
	grep '\[ckpt\]' /proc/kallsyms
}

echo "TAP version 13"
echo "1..4"

# PID 1 has loaded it.
exec 3<>/dev/ckpt
! rmmod ckpt 2>/dev/null && [ -c /dev/ckpt ]
result $? "unloading is refused while the device is open"
exec 3<&-

rmmod ckpt
result $? "unloading succeeds once it is closed"

loaded=0
while [ $loaded -lt 100 ] && insmod $module && [ -c /dev/ckpt ] && rmmod ckpt; do
	loaded=$((loaded + 1))
done
[ $loaded -eq 100 ]
result $? "loaded and unloaded $loaded times of 100"

left=$(traces)
[ -z "$left" ]
result $? "nothing is left behind"
[ -z "$left" ] || echo "$left" | head -n 20 | sed 's/^/# /'
exit $failed
