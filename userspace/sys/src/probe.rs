// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tests whether this kernel knows a call, in ways that change nothing.

use linux_raw_sys::general::MADV_GUARD_INSTALL;
use linux_raw_sys::prctl::{PR_TIMER_CREATE_RESTORE_IDS, PR_TIMER_CREATE_RESTORE_IDS_GET};
use nix::errno::Errno;

use crate::raw::syscall;

/// Tests for `clone3` (Linux 5.3; `set_tid` since 5.5).
#[must_use]
pub fn clone3() -> bool {
    // SAFETY: arguments of size 0 are rejected before they are read.
    let result = unsafe { syscall!(libc::SYS_clone3, std::ptr::null::<u8>(), 0) };
    // A sandbox that filters system calls may return EPERM.
    !matches!(result, Err(Errno::ENOSYS | Errno::EPERM))
}

/// Tests for `process_vm_readv` (`CONFIG_CROSS_MEMORY_ATTACH`).
#[must_use]
pub fn process_vm_readv() -> bool {
    let null = std::ptr::null::<libc::iovec>();
    // SAFETY: there are no ranges, so nothing is read or written.
    let result = unsafe {
        syscall!(
            libc::SYS_process_vm_readv,
            std::process::id(),
            null,
            0,
            null,
            0,
            0
        )
    };
    result.is_ok()
}

/// Tests for Landlock, built into this kernel and enabled.
#[must_use]
pub fn landlock() -> bool {
    const VERSION: u32 = 1;
    let null = std::ptr::null::<u8>();
    // SAFETY: the version query has no arguments in memory.
    let result = unsafe { syscall!(libc::SYS_landlock_create_ruleset, null, 0, VERSION) };
    result.is_ok()
}

/// Tests for `prctl(PR_SET_MM_MAP)` (`CONFIG_CHECKPOINT_RESTORE`).
#[must_use]
pub fn set_mm_map() -> bool {
    let mut size = 0_u32;
    // SAFETY: the call writes 4 bytes.
    let result = unsafe {
        syscall!(
            libc::SYS_prctl,
            libc::PR_SET_MM,
            libc::PR_SET_MM_MAP_SIZE,
            &raw mut size,
            0,
            0
        )
    };
    result.is_ok()
}

/// Tests for `prctl(PR_TIMER_CREATE_RESTORE_IDS)` (Linux 6.15).
#[must_use]
pub fn timer_ids() -> bool {
    // SAFETY: the request only returns the current setting.
    let result = unsafe {
        syscall!(
            libc::SYS_prctl,
            PR_TIMER_CREATE_RESTORE_IDS,
            PR_TIMER_CREATE_RESTORE_IDS_GET,
            0,
            0,
            0
        )
    };
    result.is_ok()
}

/// Tests for guard pages (`MADV_GUARD_INSTALL`, Linux 6.13).
#[must_use]
pub fn guard_pages() -> bool {
    // SAFETY: the range is empty; only the advice is checked.
    let result = unsafe { syscall!(libc::SYS_madvise, 0, 0, MADV_GUARD_INSTALL) };
    result.is_ok()
}

/// Tests for `mseal` (Linux 6.10).
#[must_use]
pub fn mseal() -> bool {
    // SAFETY: a flag that does not exist is rejected; nothing is sealed.
    let result = unsafe { syscall!(libc::SYS_mseal, 0, 0, 1_u64) };
    result == Err(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_kernel_that_builds_this_has() {
        assert!(clone3());
        assert!(process_vm_readv());
    }
}
