// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A copy-on-write copy of a process's memory that costs one fork: the kernel copies page tables,
//! and a page only when the program writes to it.
//!
//! The copy is a child that never runs an instruction of the program. It must not disturb the program either, so it
//! holds none of its descriptors (a pipe would stay open), and it must leave no zombie that the program does not know
//! of:
//!
//! * Linux 7.3 has `CLONE_AUTOREAP`: nobody has to wait for such a child.
//! * On older kernels a helper that shares the memory forks the copy, and is killed and waited for by the
//!   program itself, in the same stop; the orphan goes to init, which waits for everybody.

use std::fs::File;

use crust_model::{Error, Result};
use crust_sys::process::{CLONE_AUTOREAP, CloneArgs};
use crust_sys::ptrace::{self, option};
use crust_sys::{wait, word};
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::remote::{self, Caller, CodeCave, Remote, Undo};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zerocopy::IntoBytes;

use super::copy::Source;

/// A stack pointer at which nothing can be mapped. If crust is killed before it has told the kernel
/// to kill the child with it, this is how the child knows that it has to exit
/// ([`stub`](crust_sys::stub)).
const NOWHERE: u64 = 16;

/// The call that reaps the child: if crust is killed, the child exits, and the program must not be
/// left with a zombie.
const WAIT: Undo = Undo {
    nr: libc::SYS_wait4,
    rest: [0, libc::__WALL as u64],
};

/// A process made by a frozen one. Dropping it kills the process.
struct Child(Caller);

/// The memory of a frozen process as it is now, whatever happens to the process later.
pub(super) struct CowCopy(Child);

impl CowCopy {
    /// Copies the memory of a process. Other processes of the tree must be frozen too. Returns `None` if the process
    /// has no vDSO to make the call in, if crust would not know the copy by its pid, or if the copy would be an orphan
    /// and `orphans` are not allowed.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Task`] if no more processes are allowed, or there is no more memory.
    pub(super) fn of(process: &FrozenProcess, orphans: bool) -> Result<Option<Self>> {
        let Some(leader) = process.leader() else {
            return Ok(None);
        };
        if process.syscall_insn.is_none() || !has_our_numbers(process)? {
            return Ok(None);
        }
        let cave = CodeCave::of(process);
        let mut target = Remote::new(process, leader, cave.as_ref())?;
        let copy = match reaped(&mut target, process.options) {
            // This is an older kernel.
            Ok(None)
            | Err(Error::Task {
                errno: Errno::EINVAL | Errno::ENOSYS,
                ..
            }) if orphans => orphaned(&mut target, process.options).map(Some),
            Err(Error::Task {
                errno: Errno::EINVAL | Errno::ENOSYS,
                ..
            }) => Ok(None),
            copy => copy,
        };
        target.finish()?;
        let Some(copy) = copy? else {
            return Ok(None);
        };
        // Signals to the process group of the program are not for the copy, and the copy must not keep the numbers of
        // its group and session in use.
        copy.0.call("leave the session", libc::SYS_setsid, &[])?;
        // The copy shares the program's descriptor table. This gives it one of its own, without
        // copying the other.
        let all = [0, u64::from(u32::MAX), libc::CLOSE_RANGE_UNSHARE.into()];
        copy.0
            .call("drop the descriptors", libc::SYS_close_range, &all)?;
        Ok(Some(Self(copy)))
    }

    /// Returns the copy as a process that can make calls.
    pub(super) fn caller(&self) -> &Caller {
        &self.0
    }

    /// Returns the memory of the copy as a source of pages.
    pub(super) fn source(&self) -> Result<Source> {
        let pid = self.0.pid;
        let failed = |error: std::io::Error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
            Error::task(pid, "open the memory of a copy", errno)
        };
        let memory = File::open(format!("/proc/{pid}/mem")).map_err(failed)?;
        Ok(Source::Copy(pid, memory))
    }
}

/// Makes a copy that nobody has to wait for; returns `None` if there is no cave for the arguments.
fn reaped(target: &mut Remote<'_>, options: i32) -> Result<Option<Child>> {
    let flags = CLONE_AUTOREAP | (libc::CLONE_FILES | libc::CLONE_PTRACE) as u64;
    let args = CloneArgs {
        flags,
        stack: NOWHERE,
        stack_size: 16,
        ..CloneArgs::default()
    };
    let Some(place) = target.data(args.as_bytes())? else {
        return Ok(None);
    };
    let args = [place.0, size_of::<CloneArgs>() as u64];
    let made = target.make("copy the process", libc::SYS_clone3, &args, WAIT)?;
    Child::new(made, target.caller(), options).map(Some)
}

/// Makes a copy whose parent is gone.
fn orphaned(target: &mut Remote<'_>, options: i32) -> Result<Child> {
    let flags = libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_PTRACE;
    let args = [word::from_int(flags), NOWHERE];
    let made = target.make("make a helper", libc::SYS_clone, &args, WAIT)?;
    let helper = Child::new(made, target.caller(), options);
    let copy = helper.and_then(|helper| {
        let flags = libc::CLONE_FILES | libc::CLONE_PTRACE;
        let args = [word::from_int(flags), 0];
        let made = helper.0.call("copy the process", libc::SYS_clone, &args)?;
        Child::new(made, &helper.0, options)
    });
    // The helper has been killed by now, whatever happened.
    let wait = [made, 0, libc::__WALL as u64, 0];
    target.call("wait for the helper", libc::SYS_wait4, &wait)?;
    copy
}

impl Child {
    /// Takes charge of a child that a tracee with these options has just made with `CLONE_PTRACE`.
    fn new(pid: u64, parent: &Caller, options: i32) -> Result<Self> {
        let pid = word::to_int(pid);
        let child = Self(Caller {
            pid,
            tid: pid,
            ..parent.clone()
        });
        remote::await_event_stop(pid, "wait for its first stop", &mut Vec::new())?;
        ptrace::set_options(pid, options | option::EXITKILL)
            .map_err(|errno| Error::task(pid, "bind its life to that of crust", errno))?;
        Ok(child)
    }
}

impl std::ops::Deref for Child {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.0
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.pid), Signal::SIGKILL);
        while wait::wait(self.0.tid).is_ok_and(|(_, status)| !status.is_end()) {}
    }
}

/// Returns whether a process sees the same pids as crust.
fn has_our_numbers(process: &FrozenProcess) -> Result<bool> {
    let theirs = crust_proc::link(&process.proc, process.pid, "ns/pid")?;
    Ok(std::fs::read_link("/proc/self/ns/pid").is_ok_and(|ours| ours == theirs))
}
