// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Queries about stopped tasks that only the kernel can answer: the trait [`Hooks`], and its two
//! implementations.
//!
//! [`module`] asks the module `ckpt` through its device; [`mainline`] is for a kernel without it,
//! and makes the task itself execute the system calls that return the answers. Both answer in the
//! structures of the device (`crust_sys::uapi`). This crate must not know any kind of object.

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

pub mod mainline;
pub mod module;

use crust_model::{Error, Result};
use crust_sys::uapi;
use crust_tracee::frozen_process::{FrozenProcess, FrozenThread};
use crust_tracee::privileges::Privileges;
use crust_tracee::texts::Texts;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

/// The implementation of [`Hooks`] to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// `/dev/ckpt` if it exists, else mainline.
    #[default]
    Auto,
    /// `/dev/ckpt`; an error if it does not exist.
    Module,
    /// The interfaces of a stock kernel, even if `/dev/ckpt` exists.
    Mainline,
}

/// The chosen hooks, with the device if they are those of the module.
pub enum Chosen {
    /// `/dev/ckpt`.
    Module(module::Ckpt),
    /// The interfaces of a stock kernel.
    Mainline(mainline::Mainline),
}

impl KernelFeatures {
    /// Adds the features that do not depend on the hooks, but on this machine and on the privileges
    /// of crust.
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
    /// Chooses the hooks; opens the device if it is wanted and exists.
    ///
    /// # Errors
    ///
    /// Fails if the module was requested explicitly and cannot be used, or if it exists and is
    /// broken.
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

    /// Returns the hooks.
    #[must_use]
    pub fn hooks(&self) -> &dyn Hooks {
        match self {
            Self::Module(hooks) => hooks,
            Self::Mainline(hooks) => hooks,
        }
    }

    /// Returns the module, if these are its hooks.
    #[must_use]
    pub fn module(&self) -> Option<&module::Ckpt> {
        match self {
            Self::Module(hooks) => Some(hooks),
            Self::Mainline(_) => None,
        }
    }
}

/// The features of this kernel that matter to a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelFeatures {
    /// The pid of an existing task can be set (otherwise: `clone3(set_tid)`).
    pub set_pid: bool,
    /// Any process group and session can be set (otherwise: what `setsid` and `setpgid` can
    /// replay).
    pub set_ids: bool,
    /// The start time can be set (otherwise it is lost).
    pub set_start: bool,
    /// The resource usage of a process can be set (otherwise it is counted from zero).
    pub add_usage: bool,
    /// Reading runs nothing in the target, and the remaining time of an interrupted sleep is known.
    pub read_only: bool,
    /// The privileges of crust itself.
    pub own: Privileges,
    /// A process that changes its credentials becomes dumpable by root alone (`fs.suid_dumpable`).
    pub dumpable_by_root: bool,
}

/// The running state of a POSIX timer; its fixed properties are in `/proc/PID/timers`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimerState {
    /// The nanoseconds until the next expiry, 0 if the timer is disarmed.
    pub value: u64,
    /// The nanoseconds between expirations, 0 for a one-shot timer.
    pub interval: u64,
    /// The overrun count of the last expiration.
    pub overrun: u32,
    /// The realtime and the monotonic clock (as the kernel has them) right after the timer was
    /// read, in nanoseconds.
    pub now: [u64; 2],
}

/// State that only the process itself can ask the kernel for; crust does not carry over most of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfOnlyState {
    /// The leader is in a Landlock domain.
    pub landlock: bool,
    /// The leader cannot read the time stamp counter (`PR_SET_TSC`; or seccomp's strict mode, which
    /// has the same effect).
    pub no_tsc: bool,
    /// The leader cannot execute `CPUID` (`ARCH_SET_CPUID`).
    pub no_cpuid: bool,
    /// The process may use AMX tiles, for which a program has to ask (`ARCH_REQ_XCOMP_PERM`).
    pub tiles: bool,
    /// The process has LDT segments of its own (`modify_ldt`).
    pub segments: bool,
    /// The leader or the process has a keyring that nobody else has.
    pub keyring: bool,
    /// The io_urings that the leader creates are restricted (`IORING_REGISTER_RESTRICTIONS`, Linux
    /// 7.0).
    pub uring_restrictions: bool,
}

/// State of an address space that only the program itself can ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SelfOnlyMemory {
    /// The protection keys that the program has allocated, as bits. The key that the kernel uses
    /// for execute-only memory is not among them.
    pub keys: Option<u16>,
    /// The result of `PR_GET_MDWE`.
    pub write_execute: Option<u64>,
}

/// Queries that have no other source.
pub trait Hooks {
    /// Returns the features that a restore may rely on.
    fn features(&self) -> KernelFeatures;
    /// Asks a whole tree at once for everything that calls must ask for; `texts` is the content of
    /// `/proc` for each process.
    fn prepare(&self, _tree: &[FrozenProcess], _texts: &[Texts]) -> Result<()> {
        Ok(())
    }
    /// Returns the personality of a thread, if the thread was asked for it.
    fn personality(&self, _: &FrozenProcess, _: &FrozenThread) -> Result<Option<u32>> {
        Ok(None)
    }
    /// Returns the actions of signals 1..=64.
    fn signal_actions(&self, process: &FrozenProcess) -> Result<Vec<uapi::Sigaction>>;
    /// Returns the state of one thread. A mainline kernel cannot tell `restart.remaining` and
    /// `default_timer_slack`; its answer has [`uapi::restart::OTHER`] and the current slack.
    fn thread(&self, process: &FrozenProcess, thread: &FrozenThread) -> Result<uapi::Thread>;
    /// Returns the state of the process. A mainline kernel cannot tell `AUTOREAP`.
    fn process(&self, process: &FrozenProcess) -> Result<uapi::Process>;
    /// Returns state that nobody else can ask for. The module does not tell it: all of it is
    /// `false`.
    fn hidden(&self, _: &FrozenProcess) -> Result<SelfOnlyState> {
        Ok(SelfOnlyState::default())
    }
    /// Returns state of the address space that only the program itself can ask for. The module does
    /// not tell it: all of it is `None`.
    fn self_only_memory(&self, process: &FrozenProcess) -> Result<SelfOnlyMemory>;
    /// Returns the running state of the POSIX timers with these ids, in this order.
    fn posix_timers(&self, process: &FrozenProcess, ids: &[i32]) -> Result<Vec<TimerState>>;
}
