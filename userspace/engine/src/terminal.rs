// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The terminal that crust was started from, while it is lent to a restored job.
//!
//! A job that is a process group of its own must be in the foreground of the terminal, or it may
//! not read from it. Then crust is in the background, and takes the terminal back when the job
//! stops or ends: the program that started crust may have no job control that would.

use std::fs::File;

use crust_model::Result;
use crust_model::effect::Effect;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::unistd::{Pid, getpgrp, tcgetpgrp, tcsetpgrp};

/// The terminal of a job.
#[derive(Debug)]
pub struct Terminal {
    file: File,
    /// The process group of the job that is in the foreground, or was when it had the terminal.
    job: Pid,
}

impl Terminal {
    /// Returns the terminal, for the job with this process group; `None` if crust has no terminal.
    #[must_use]
    pub fn of_job(group: i32) -> Option<Self> {
        let file = File::options()
            .read(true)
            .write(true)
            .open("/dev/tty")
            .ok()?;
        let job = Pid::from_raw(group);
        Some(Self { file, job })
    }

    /// Gives the terminal to the job, if crust is in the foreground.
    pub fn lend(&self) -> bool {
        tcgetpgrp(&self.file) == Ok(getpgrp()) && self.give(self.job)
    }

    /// Takes the terminal back, if the job has it.
    pub fn take_back(&mut self) {
        if let Ok(holder) = tcgetpgrp(&self.file) {
            if holder != getpgrp() {
                // The job may have given it to another one of its groups.
                self.job = holder;
                self.give(getpgrp());
            }
        }
    }

    /// Makes a group the foreground group. A background process may do so while it blocks the
    /// signal that would stop it.
    fn give(&self, group: Pid) -> bool {
        let stop: SigSet = std::iter::once(Signal::SIGTTOU).collect();
        let Ok(before) = stop.thread_swap_mask(SigmaskHow::SIG_BLOCK) else {
            return false;
        };
        let given = tcsetpgrp(&self.file, group).is_ok();
        let _ = before.thread_set_mask();
        given
    }
}

/// The effect of a restore that lends the terminal to the job it brings back.
#[derive(Debug)]
pub struct Lending {
    terminal: Terminal,
    group: i32,
    is_lent: bool,
}

impl Lending {
    /// Returns the effect for a job with this process group; `None` if crust has no terminal.
    pub fn to_job(group: i32) -> Option<Self> {
        Some(Self {
            terminal: Terminal::of_job(group)?,
            group,
            is_lent: false,
        })
    }

    /// Returns the process group that has the terminal now; `None` if crust was not in the
    /// foreground, and had nothing to lend.
    pub fn borrower(&self) -> Option<i32> {
        self.is_lent.then_some(self.group)
    }
}

impl Effect for Lending {
    fn name(&self) -> String {
        format!("terminal for the job {}", self.group)
    }

    fn prepare(&mut self) -> Result<()> {
        self.is_lent = self.terminal.lend();
        Ok(())
    }

    /// Leaves the terminal to the job: [`foreground`](crate::foreground) takes it back in the end.
    fn commit(&mut self) -> Result<()> {
        Ok(())
    }

    fn abort(&mut self) {
        if std::mem::take(&mut self.is_lent) {
            self.terminal.take_back();
        }
    }
}
