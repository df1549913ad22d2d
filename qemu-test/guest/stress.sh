#!/bin/sh
# SPDX-License-Identifier: Apache-2.0 OR MIT
#
# stress.sh SECONDS: runs in the guest, meant for the debug kernel: the hooks under fork, exit and SIGKILL.
exec /crust/selftests/stress "$1"
