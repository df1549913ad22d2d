// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The timeouts of calls in which threads wait.
//!
//! A call that is interrupted and restarted waits for its whole timeout once more, unless the
//! kernel keeps the remaining time (`struct restart_block`) or has written it to where the program
//! passed the timeout (`select` and its relatives). For all other calls, this module determines
//! when the wait ends, from:
//!
//! * the remaining time that `nanosleep` has written for the program,
//! * a [`note`] of a former crust,
//! * or else the moment since which the thread has been blocked ([`blocked_since`]).
//!
//! The end is never earlier than it would have been. [`resume`] lets a thread continue with the
//! remaining time.

mod blocked_since;
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
