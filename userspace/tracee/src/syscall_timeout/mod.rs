// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The time limits of calls in which threads wait.
//!
//! A call that is interrupted and begun again waits for the whole of its limit once more, unless the
//! kernel keeps what was left (`struct restart_block`) or has written it to where the program
//! gave the limit (`select` and its kin). For all others it is told here when the wait ends:
//!
//! * by what `nanosleep` has written for the program,
//! * by a [`note`] of a former crust,
//! * or else by the moment when the thread fell [`blocked_since`].
//!
//! The end is never earlier than it would have been. How a thread is let go with what is left, is in
//! [`resume`].

pub mod blocked_since;
pub mod note;
pub mod processor;
pub mod resume;
pub mod sleeps;
pub mod wait;

use std::os::fd::OwnedFd;

pub use crust_model::plan::{Remaining, TimeoutLocation};
use crust_sys::pidfd;

pub use self::sleeps::Sleeps;
pub use self::wait::{arguments, is_relative, is_until_used};

fn thread_pidfd(pid: i32, tid: i32) -> nix::Result<OwnedFd> {
    if tid == pid {
        pidfd::open(pid)
    } else {
        pidfd::open_thread(tid)
    }
}
