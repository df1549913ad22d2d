// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Waiting for a restored program in the foreground, as a shell waits for a command.

use std::os::fd::AsFd;

use crust_model::{Error, Result};
use crust_sys::{pidfd, word};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpgid, getpgrp};

use crate::terminal::Terminal;

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It exited with this status.
    Exited(i32),
    /// This signal killed it.
    Killed(i32),
}

impl Ended {
    /// Returns the exit status that reports this: shells count signals from 128 on.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        let code = match self {
            Self::Exited(status) => status,
            Self::Killed(signal) => 128 + signal,
        };
        // The argument of `exit` has eight bits.
        let [code, ..] = code.to_le_bytes();
        code
    }
}

/// The signals that are passed on to the program while crust waits for it.
const PASSED_ON: [Signal; 6] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
];

/// Waits until the child `pid`, the root of a restored tree, has ended. If the terminal was given
/// to its process group `job`, crust stops when that stops, and continues with it.
///
/// A program in another process group than crust gets the signals that crust gets. In the same
/// group (`--shell-job`) it gets the same signals from the terminal as crust; passing them on would
/// duplicate them.
///
/// # Errors
///
/// [`Error::System`] if `pid` is not a child of the caller.
pub fn wait(pid: i32, job: Option<i32>) -> Result<Ended> {
    let pid = Pid::from_raw(pid);
    let mut terminal = job.and_then(Terminal::of_job);
    let mut signals: SigSet = PASSED_ON.into_iter().collect();
    // A stop is visible in no other way. The signal stays pending for us because the main thread
    // blocks it.
    signals.add(Signal::SIGCHLD);
    signals
        .thread_block()
        .map_err(|errno| Error::system("block signals", errno))?;
    let result = wait_blocked(pid, &signals, terminal.as_mut());
    if let Some(terminal) = &mut terminal {
        terminal.take_back();
    }
    let result = result.map_err(|errno| Error::system(format!("wait for process {pid}"), errno));
    let _ = signals.thread_unblock();
    result
}

fn wait_blocked(
    pid: Pid,
    signals: &SigSet,
    mut terminal: Option<&mut Terminal>,
) -> nix::Result<Ended> {
    let flags = match terminal {
        Some(_) => WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED,
        None => WaitPidFlag::WNOHANG,
    };
    let signals = SignalFd::with_flags(signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let child = pidfd::open(pid.as_raw())?;
    loop {
        match waitpid(pid, Some(flags)) {
            Ok(WaitStatus::Exited(_, status)) => return Ok(Ended::Exited(status)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(Ended::Killed(signal as i32)),
            // Killed by a real-time signal, which `nix` has no name for.
            Err(Errno::EINVAL) => return Ok(Ended::Killed(0)),
            Ok(WaitStatus::Stopped(..)) => {
                if let Some(terminal) = &mut terminal {
                    stop_with(pid, terminal)?;
                }
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        // SIGCHLD would not do: without a handler, it does not stay pending for a thread that blocks
        // it.
        let mut ready = [
            PollFd::new(child.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        while let Some(signal) = signals.read_signal()? {
            let signal = Signal::try_from(word::to_int(signal.ssi_signo.into()))?;
            if signal != Signal::SIGCHLD && getpgid(Some(pid)) != Ok(getpgrp()) {
                // The program may have ended meanwhile; the next waitpid will tell.
                let _ = kill(pid, signal);
            }
        }
    }
}

/// Handles a stop of the job: crust does what a command in its place would do, and the shell sees a
/// job that stops. When crust is continued, so is the job.
fn stop_with(pid: Pid, terminal: &mut Terminal) -> nix::Result<()> {
    terminal.take_back();
    killpg(getpgrp(), Signal::SIGTSTP)?;
    // crust continues here; at once if there is no shell that could continue it.
    terminal.lend();
    killpg(getpgid(Some(pid))?, Signal::SIGCONT)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn ended(script: &str) -> Ended {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .spawn()
            .unwrap();
        let ended = wait(child.id() as i32, None).unwrap();
        child.wait().expect_err("it was waited for already");
        ended
    }

    #[test]
    fn tells_how_it_ended() {
        assert_eq!(ended("exit 7").exit_code(), 7);
        assert_eq!(ended("kill -KILL $$").exit_code(), 137);
    }

    #[test]
    fn waits_for_children_only() {
        wait(1, None).unwrap_err();
    }
}
