// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Raw Linux interfaces that `nix` lacks: the only crate of crust with `unsafe`.
//!
//! There is one module per family of calls. Signatures are safe: descriptors are `OwnedFd` and
//! `BorrowedFd`, addresses in other tasks are [`RemoteAddr`], and tasks are named by their number
//! in the pid namespace of the caller. Errors are those of the kernel, in the type that `nix` has
//! for them.

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
pub mod xattr;
pub mod xstate;

pub use addr::RemoteAddr;

/// The result of every call of this crate.
pub type Result<T> = nix::Result<T>;
