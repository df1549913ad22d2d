// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Linux interfaces that `nix` lacks, raw or by `rustix`: the only crate of crust with `unsafe`.
//!
//! There is one module per family of calls. Signatures are safe: descriptors are `OwnedFd` and
//! `BorrowedFd`, addresses in other tasks are [`RemoteAddr`], and tasks are named by their number
//! in the pid namespace of the caller. Errors are those of the kernel, in the type that `nix` has
//! for them.

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

pub mod addr;
pub mod buffer;
pub mod device;
pub mod errno;
pub mod fcntl;
pub mod handle;
pub mod kcmp;
pub mod memory;
pub mod mount;
pub mod pagemap;
pub mod peek;
pub mod pidfd;
pub mod probe;
pub mod process;
pub mod ptrace;
mod raw;
pub mod shm;
pub mod signal;
pub mod sockopt;
pub mod splice;
pub mod statx;
pub mod stub;
pub mod task;
pub mod timerfd;
pub mod tty;
#[expect(missing_docs, reason = "linux/ckpt.h says what each field means")]
pub mod uapi;
pub mod uring;
pub mod wait;
pub mod word;
pub mod xattr;
pub mod xstate;

pub use addr::RemoteAddr;

/// The result of every call of this crate.
pub type Result<T> = nix::Result<T>;
