// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the kernel is asked beyond `/proc` and system calls, behind one small trait.
//!
//! There are two implementations: `/dev/ckpt` ([`ckpt`]) asks the module, and nothing runs in the
//! target; mainline ([`mainline`]) has the stopped target execute system calls.

use crust_sys::uapi;

use crate::Result;
use crate::subject::{FrozenProcess, FrozenThread};

/// What this kernel can do for a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// A pid can be set on a task that exists (else: `clone3(set_tid)`).
    pub set_pid: bool,
    /// Any group and session (else: what `setsid` and `setpgid` can replay).
    pub set_ids: bool,
    /// The start time (else: lost).
    pub set_start: bool,
    /// Reading runs nothing in the target, and the remaining time of an interrupted sleep is known.
    pub read_only: bool,
}

/// A POSIX timer's running state; what is fixed about it is in `/proc/PID/timers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerState {
    /// Nanoseconds until it expires next, 0 if it is disarmed.
    pub value: u64,
    /// Nanoseconds between expirations, 0 for a one-shot timer.
    pub interval: u64,
    /// The overrun count of the last expiration.
    pub overrun: u32,
}

/// The few things that have no other source.
pub trait Hooks {
    /// What a restore may rely on.
    fn abilities(&self) -> Abilities;
    /// The actions of signals 1..=64.
    fn signal_actions(&self, process: &FrozenProcess) -> Result<Vec<uapi::Sigaction>>;
    /// What belongs to one thread. A mainline kernel cannot tell `restart.remaining` and
    /// `default_timer_slack`; it answers [`uapi::restart::OTHER`] and the current slack.
    fn thread(&self, process: &FrozenProcess, thread: &FrozenThread) -> Result<uapi::Thread>;
    /// What belongs to the process. A mainline kernel cannot tell `AUTOREAP`.
    fn process(&self, process: &FrozenProcess) -> Result<uapi::Process>;
    /// The running state of the POSIX timers with these ids, in this order.
    fn posix_timers(&self, process: &FrozenProcess, ids: &[i32]) -> Result<Vec<TimerState>>;
    /// A socket of a process; `None` without the module.
    fn socket(
        &self,
        process: &FrozenProcess,
        fd: i32,
    ) -> Result<Option<(uapi::Socket, Vec<uapi::Pending>)>>;
}
