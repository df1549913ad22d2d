// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The properties of the processor, and of the kernel's binary interface on it: x86-64. Support for
//! another processor would be a crate beside this one.
//!
//! It knows numbers, layouts and rules; it makes no system call, and must not know tasks or images.

#![forbid(unsafe_code)]
// Only tests cast numbers freely: they have chosen them.
#![cfg_attr(
    not(test),
    warn(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::cast_lossless
    )
)]

pub mod sigmask_syscalls;
pub mod vdso;

/// `io_pgetevents`, which the libc crate lacks.
pub const SYS_IO_PGETEVENTS: i64 = linux_raw_sys::general::__NR_io_pgetevents as i64;

/// The operation of `arch_prctl` that switches features of shadow stacks on
/// (arch/x86/include/uapi/asm/prctl.h).
pub const ARCH_SHSTK_ENABLE: u64 = 0x5001;

/// `TASK_SIZE` of a process that does not ask for addresses above 47 bits: one page is left out
/// below the limit (arch/x86/include/asm/page_64_types.h). The seed process does not ask for them.
pub const TASK_SIZE: u64 = (1 << 47) - 4096;
