// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the kernel can be asked about a stopped task: the one trait [`Hooks`], and its two implementations.
//!
//! [`module`] asks the module `ckpt` through its device; [`mainline`] is for a kernel without it, and has the task itself
//! execute the system calls by which it would ask. Both answer in the structures of the device
//! (`crust_sys::uapi`). This crate must not know any kind of object.

#![forbid(unsafe_code)]

pub mod mainline;
pub mod module;

use crust_model::{Error, Result};
use crust_sys::uapi;
use crust_tracee::frozen_process::{FrozenProcess, FrozenThread};
use crust_tracee::privileges::Privileges;
use crust_tracee::texts::Texts;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// Which implementation of [`Hooks`] is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// `/dev/ckpt` if it is there, else mainline.
    #[default]
    Auto,
    /// `/dev/ckpt`; an error if it is not there.
    Module,
    /// What a stock kernel can, even if `/dev/ckpt` is there.
    Mainline,
}

/// The hooks that were asked for, and the device if they are the module's.
pub enum Chosen {
    /// `/dev/ckpt`.
    Module(module::Ckpt),
    /// What a stock kernel can.
    Mainline(mainline::Mainline),
}

impl KernelFeatures {
    /// With what does not depend on the hooks, but on this machine and on who crust is.
    #[must_use]
    pub fn of_the_machine(self) -> Self {
        let dumpable = std::fs::read_to_string("/proc/sys/fs/suid_dumpable");
        Self {
            own: Privileges::own(),
            dumpable_by_root: dumpable.is_ok_and(|text| text.trim() == "2"),
            ..self
        }
    }
}

impl Chosen {
    /// Opens the device, if it is wanted and there.
    ///
    /// # Errors
    ///
    /// If the module was asked for by name and cannot be used, or if it is there and broken.
    pub fn new(backend: Backend) -> Result<Self> {
        match backend {
            Backend::Mainline => Ok(Self::Mainline(mainline::Mainline::default())),
            Backend::Module => module::Ckpt::open().map(Self::Module),
            Backend::Auto => match module::Ckpt::open() {
                Ok(module) => Ok(Self::Module(module)),
                Err(Error::System {
                    errno: Errno::ENOENT | Errno::ENXIO | Errno::EACCES,
                    ..
                }) => Ok(Self::Mainline(mainline::Mainline::default())),
                Err(error) => Err(error),
            },
        }
    }

    /// The hooks.
    #[must_use]
    pub fn hooks(&self) -> &dyn Hooks {
        match self {
            Self::Module(hooks) => hooks,
            Self::Mainline(hooks) => hooks,
        }
    }

    /// The module, if these are its hooks.
    #[must_use]
    pub fn module(&self) -> Option<&module::Ckpt> {
        match self {
            Self::Module(hooks) => Some(hooks),
            Self::Mainline(_) => None,
        }
    }
}

/// What this kernel can do for a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelFeatures {
    /// A pid can be set on a task that exists (else: `clone3(set_tid)`).
    pub set_pid: bool,
    /// Any group and session (else: what `setsid` and `setpgid` can replay).
    pub set_ids: bool,
    /// The start time (else: lost).
    pub set_start: bool,
    /// What a process has used goes on to be counted (else: from zero on).
    pub add_usage: bool,
    /// Reading runs nothing in the target, and the remaining time of an interrupted sleep is known.
    pub read_only: bool,
    /// What crust itself may do.
    pub own: Privileges,
    /// What gets other credentials becomes dumpable by root alone (`fs.suid_dumpable`).
    pub dumpable_by_root: bool,
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
    /// What the clock of the day and the monotonic one said (as the kernel has them) right after that, in nanoseconds.
    pub now: [u64; 2],
}

/// What only the process itself can ask the kernel; most of it crust does not carry over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfOnlyState {
    /// Its leader is in a Landlock domain.
    pub landlock: bool,
    /// The time stamp counter is closed to its leader (`PR_SET_TSC`; or seccomp's strict mode, which does so).
    pub no_tsc: bool,
    /// So is `CPUID` (`ARCH_SET_CPUID`).
    pub no_cpuid: bool,
    /// It may use the tiles of AMX, for which a program has to ask (`ARCH_REQ_XCOMP_PERM`).
    pub tiles: bool,
    /// It has segments of its own (`modify_ldt`).
    pub segments: bool,
    /// Its leader or itself has a keyring that nobody else has.
    pub keyring: bool,
    /// The io_urings that its leader makes are restricted (`IORING_REGISTER_RESTRICTIONS`, Linux 7.0).
    pub uring_restrictions: bool,
}

/// What of an address space a program can only ask for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfOnlyMemory {
    /// The protection keys that the program has allocated, as bits. That which the kernel has taken for
    /// memory that can only be executed is not among them.
    pub keys: Option<u16>,
    /// `PR_GET_MDWE`.
    pub write_execute: Option<u64>,
}

/// The few things that have no other source.
pub trait Hooks {
    /// What a restore may rely on.
    fn features(&self) -> KernelFeatures;
    /// Asks at once what of a tree has to be asked by calls; `texts` is what `/proc` tells of each process.
    fn prepare(&self, _tree: &[FrozenProcess], _texts: &[Texts]) -> Result<()> {
        Ok(())
    }
    /// The personality of a thread, if it was asked.
    fn personality(&self, _: &FrozenProcess, _: &FrozenThread) -> Result<Option<u32>> {
        Ok(None)
    }
    /// The actions of signals 1..=64.
    fn signal_actions(&self, process: &FrozenProcess) -> Result<Vec<uapi::Sigaction>>;
    /// What belongs to one thread. A mainline kernel cannot tell `restart.remaining` and
    /// `default_timer_slack`; it answers [`uapi::restart::OTHER`] and the current slack.
    fn thread(&self, process: &FrozenProcess, thread: &FrozenThread) -> Result<uapi::Thread>;
    /// What belongs to the process. A mainline kernel cannot tell `AUTOREAP`.
    fn process(&self, process: &FrozenProcess) -> Result<uapi::Process>;
    /// What nobody else can ask. The module does not tell: it answers that there is nothing.
    fn hidden(&self, _: &FrozenProcess) -> Result<SelfOnlyState> {
        Ok(SelfOnlyState::default())
    }
    /// What only the program itself can ask. The module does not tell: all of it is `None`.
    fn self_only_memory(&self, process: &FrozenProcess) -> Result<SelfOnlyMemory>;
    /// The running state of the POSIX timers with these ids, in this order.
    fn posix_timers(&self, process: &FrozenProcess, ids: &[i32]) -> Result<Vec<TimerState>>;
}
