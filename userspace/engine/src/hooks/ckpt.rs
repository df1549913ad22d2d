// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The hooks through `/dev/ckpt`: the module is asked, and nothing runs in the target.

use std::os::fd::AsFd;

use crust_sys::device::Device;
use crust_sys::pidfd;
use crust_sys::uapi::{self, nr};

use super::{Abilities, Hooks, Privy, TimerState};
use crate::clock;
use crate::procfs;
use crate::subject::{FrozenProcess, FrozenThread};
use crate::{Error, Result};

/// The module.
#[derive(Debug)]
pub struct Ckpt {
    device: Device,
    features: u64,
}

impl Ckpt {
    /// Opens the device.
    ///
    /// # Errors
    ///
    /// [`Error::System`]: `ENOENT` without the module, `EACCES`, or an ABI that is not ours.
    pub fn open() -> Result<Self> {
        let failed = |errno| Error::system(format!("open {}", crust_sys::device::PATH), errno);
        let device = Device::open().map_err(failed)?;
        let version = device.version().map_err(failed)?;
        if version.abi != uapi::CKPT_ABI {
            return Err(Error::malformed(
                crust_sys::device::PATH,
                format!("its ABI is {}, ours {}", version.abi, uapi::CKPT_ABI),
            ));
        }
        Ok(Self {
            device,
            features: version.features,
        })
    }

    /// The device, for what only a restore asks.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    fn can(&self, request: u32) -> bool {
        self.features & 1 << request != 0
    }
}

impl Hooks for Ckpt {
    fn abilities(&self) -> Abilities {
        Abilities {
            set_pid: self.can(nr::SET_PID),
            set_ids: self.can(nr::SET_IDS),
            set_start: self.can(nr::SET_START),
            add_usage: self.can(nr::ADD_USAGE),
            read_only: true,
            ..Abilities::default()
        }
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

    fn privy(&self, _: &FrozenProcess) -> Result<Privy> {
        Ok(Privy::default())
    }

    /// The patched kernel tells them in `/proc/PID/timers`.
    fn posix_timers(&self, process: &FrozenProcess, ids: &[i32]) -> Result<Vec<TimerState>> {
        let text = procfs::read_text(&process.proc, process.pid, "timers")?;
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

/// The ids and states in `/proc/PID/timers`; timers without a state are left out.
fn parse_timers(text: &str) -> Vec<(i32, TimerState)> {
    let mut all = Vec::new();
    // Not every `ID: ` begins a timer: there is a line `ClockID: `.
    for block in format!("\n{text}").split("\nID: ").skip(1) {
        let mut lines = block.lines();
        let id = lines.next().and_then(|line| line.trim().parse().ok());
        let fields = procfs::Fields::new(block.to_owned());
        let value = fields.get("value").and_then(nanoseconds);
        let interval = fields.get("interval").and_then(nanoseconds);
        let overrun = fields.number("overrun");
        if let (Some(id), Some(value), Some(interval), Some(overrun)) =
            (id, value, interval, overrun)
        {
            let overrun = overrun as u32;
            all.push((
                id,
                TimerState {
                    value,
                    interval,
                    overrun,
                    ..TimerState::default()
                },
            ));
        }
    }
    all
}

/// `12.000000034` as nanoseconds.
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
        let text = "ID: 3\nsignal: 10/00000000abcdef00\nnotify: signal/pid.77\nClockID: 1\n\
                    value: 4.000000500\ninterval: 0.250000000\noverrun: 2\n\
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
