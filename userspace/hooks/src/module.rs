// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The hooks of `/dev/ckpt`: the module is asked, and nothing runs in the target.

use std::os::fd::{AsFd, BorrowedFd};

use crust_model::plan::Module;
use crust_model::{Error, Result};
use crust_sys::device::{Device, Known, PATH};
use crust_sys::pidfd;
use crust_sys::uapi::{self, Process, Request, SetIds, SetPid, SetStart, Sigactions, Thread};
use crust_tracee::clock;
use crust_tracee::frozen_process::{FrozenProcess, FrozenThread};

use crate::{Hooks, KernelFeatures, SelfOnlyMemory, TimerState};

/// The module.
#[derive(Debug)]
pub struct Ckpt {
    device: Device,
    features: KernelFeatures,
}

impl Ckpt {
    /// Opens the device.
    ///
    /// # Errors
    ///
    /// [`Error::System`]: `ENOENT` without the module, `EACCES`; [`Error::Malformed`] if the module
    /// does not match this crust.
    pub fn open() -> Result<Self> {
        let failed = |errno| Error::system(format!("open {PATH}"), errno);
        let device = Device::open().map_err(failed)?;
        must_know::<Sigactions>(&device)?;
        must_know::<Thread>(&device)?;
        must_know::<Process>(&device)?;
        let features = KernelFeatures {
            set_pid: may_know::<SetPid>(&device)?,
            set_ids: may_know::<SetIds>(&device)?,
            set_start: may_know::<SetStart>(&device)?,
            add_usage: may_know::<uapi::Usage>(&device)?,
            read_only: true,
            ..KernelFeatures::default()
        };
        Ok(Self { device, features })
    }
}

/// The requests that only a restore makes.
impl Module for Ckpt {
    fn set_ids(&self, process: BorrowedFd<'_>, pgid: i32, sid: i32) -> nix::Result<()> {
        self.device.set_ids(process, pgid, sid)
    }

    fn set_start(&self, task: BorrowedFd<'_>, boottime: u64) -> nix::Result<()> {
        self.device.set_start(task, boottime)
    }

    fn add_usage(&self, process: BorrowedFd<'_>, usage: &uapi::Usage) -> nix::Result<()> {
        self.device.add_usage(process, usage)
    }
}

/// Returns whether the module knows a request that crust can do without. It must not know another
/// request by that number.
fn may_know<T: Request>(device: &Device) -> Result<bool> {
    match device.knows::<T>() {
        Known::Yes => Ok(true),
        Known::No => Ok(false),
        Known::Otherwise(errno) => Err(other_module(T::NAME, &format!("answers {errno}"))),
    }
}

fn must_know<T: Request>(device: &Device) -> Result<()> {
    match may_know::<T>(device)? {
        true => Ok(()),
        false => Err(other_module(T::NAME, "does not know it")),
    }
}

fn other_module(request: &str, does: &str) -> Error {
    Error::malformed(
        PATH,
        format!(
            "asked for CKPT_IOC_{request}, it {does}: that is not the module of this crust. Load that one, or use \
             --backend mainline"
        ),
    )
}

impl Hooks for Ckpt {
    fn features(&self) -> KernelFeatures {
        self.features
    }

    fn signal_actions(&self, process: &FrozenProcess) -> Result<Vec<uapi::Sigaction>> {
        self.device
            .signal_actions(process.pidfd.as_fd())
            .map_err(|errno| Error::task(process.pid, "CKPT_SIGACTIONS", errno))
    }

    fn thread(&self, process: &FrozenProcess, thread: &FrozenThread) -> Result<uapi::Thread> {
        let failed = |errno| Error::task(thread.tid, "CKPT_THREAD", errno);
        if thread.tid == process.task() {
            return self.device.thread(process.pidfd.as_fd()).map_err(failed);
        }
        let pidfd = pidfd::open_thread(thread.tid)
            .map_err(|errno| Error::task(thread.tid, "pidfd_open", errno))?;
        self.device.thread(pidfd.as_fd()).map_err(failed)
    }

    fn process(&self, process: &FrozenProcess) -> Result<uapi::Process> {
        self.device
            .process(process.pidfd.as_fd())
            .map_err(|errno| Error::task(process.pid, "CKPT_PROCESS", errno))
    }

    fn self_only_memory(&self, _: &FrozenProcess) -> Result<SelfOnlyMemory> {
        Ok(SelfOnlyMemory::default())
    }

    /// Reads the states that the patched kernel shows in `/proc/PID/timers`.
    fn posix_timers(&self, process: &FrozenProcess, ids: &[i32]) -> Result<Vec<TimerState>> {
        let text = crust_proc::read_text(&process.proc, process.pid, "timers")?;
        let timers = parse_timers(&text);
        let now = clock::day_and_monotonic();
        ids.iter()
            .map(|id| {
                let timer = timers.iter().find(|(number, _)| number == id);
                let state = timer.map(|&(_, state)| TimerState { now, ..state });
                state.ok_or_else(|| {
                    Error::malformed(
                        format!("timer {id} of process {}", process.pid),
                        "/proc/PID/timers does not tell its state",
                    )
                })
            })
            .collect()
    }
}

/// Returns the ids and states in `/proc/PID/timers`; timers without a state are left out.
fn parse_timers(text: &str) -> Vec<(i32, TimerState)> {
    let mut id = None;
    let mut all = Vec::new();
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("ID: ") {
            id = number.parse().ok();
        } else if let Some((_, state)) = line
            .strip_prefix("ClockID: ")
            .and_then(|rest| rest.split_once(' '))
        {
            all.extend(id.zip(timer_state(state)));
        }
    }
    all
}

/// Parses `value 4.000000500 interval 0.250000000 overrun 2`.
fn timer_state(text: &str) -> Option<TimerState> {
    let mut words = text.split(' ');
    let mut after = |name| words.next().filter(|word| *word == name).and(words.next());
    Some(TimerState {
        value: nanoseconds(after("value")?)?,
        interval: nanoseconds(after("interval")?)?,
        overrun: after("overrun")?.parse().ok()?,
        ..TimerState::default()
    })
}

/// Parses `12.000000034` as nanoseconds.
fn nanoseconds(text: &str) -> Option<u64> {
    let (seconds, rest) = text.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let rest: u64 = rest.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_with_their_state() {
        let text = "ID: 3\nsignal: 10/00000000abcdef00\nnotify: signal/pid.77\n\
                    ClockID: 1 value 4.000000500 interval 0.250000000 overrun 2\n\
                    ID: 4\nsignal: 0/0\nnotify: none/pid.77\nClockID: 0\n";
        let state = TimerState {
            value: 4_000_000_500,
            interval: 250_000_000,
            overrun: 2,
            ..TimerState::default()
        };
        assert_eq!(parse_timers(text), [(3, state)]);
    }
}
