// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Handling interruption at safe points only.
//!
//! While crust has a program stopped, Ctrl-C must not end crust at once. The signals that would end
//! it are blocked, and checked for where everything can be undone.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crust_model::{Error, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

const ENDING: [Signal; 4] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
];

/// A guard that holds back the signals that would end crust.
#[derive(Debug)]
pub struct Interrupts {
    signals: SignalFd,
    before: SigSet,
}

impl Interrupts {
    /// Blocks these signals, and with them `SIGCHLD`, which tells that a tracee has stopped.
    pub fn hold() -> Result<Self> {
        let failed = |errno| Error::system("block signals", errno);
        let mut set = SigSet::empty();
        set.extend(ENDING);
        set.add(Signal::SIGCHLD);
        let before = set
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&set, flags).map_err(failed)?;
        Ok(Self { signals, before })
    }

    /// Marks a safe point.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if the user asked crust to end.
    pub fn check(&self) -> Result<()> {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    /// Waits until `ready` returns something, checking again whenever a child has reported, and at
    /// least every `pause`. Returns `None` if it has not done so by `deadline`.
    pub(crate) fn wait_for<T>(
        &self,
        deadline: Instant,
        pause: Duration,
        mut ready: impl FnMut() -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        loop {
            self.check()?;
            if let Some(answer) = ready()? {
                return Ok(Some(answer));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let pause = PollTimeout::try_from(left.min(pause)).unwrap_or(PollTimeout::ZERO);
            let mut fds = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, pause) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Error::system("wait for a signal", errno)),
            }
        }
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        let _ = self.before.thread_set_mask();
    }
}
