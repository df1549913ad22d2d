// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Suspends the syscall user dispatch (`PR_SET_SYSCALL_USER_DISPATCH`) of a thread that is to make
//! calls for us, which would otherwise become signals. Unlike seccomp filters, it stays active
//! while a thread is traced.

use crust_model::{Error, Result};
use crust_sys::ptrace::{self, UserDispatch};
use nix::errno::Errno;

/// The configuration that is suspended.
#[derive(Debug, Default)]
pub struct Dispatch(Option<UserDispatch>);

impl Dispatch {
    /// Switches syscall user dispatch off.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] if it could not be switched on again (Linux 7.1:
    /// `kernel.syscall_user_dispatch`); then it stays as it was.
    pub(crate) fn suspend(tid: i32) -> Result<Self> {
        let failed = |errno| Error::task(tid, "switch its syscall user dispatch off", errno);
        match ptrace::user_dispatch(tid) {
            Ok(config) if config.mode != 0 => {
                ptrace::set_user_dispatch(tid, &config)
                    .and_then(|()| ptrace::set_user_dispatch(tid, &UserDispatch::default()))
                    .map_err(failed)?;
                Ok(Self(Some(config)))
            }
            // EIO: a kernel before 6.4, which cannot read the configuration.
            Ok(_) | Err(Errno::EIO | Errno::EINVAL) => Ok(Self(None)),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Switches syscall user dispatch on again, if it was on.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] if the thread has died.
    pub fn resume(&mut self, tid: i32) -> Result<()> {
        match self.0.take() {
            Some(config) => ptrace::set_user_dispatch(tid, &config)
                .map_err(|errno| Error::task(tid, "switch its syscall user dispatch on", errno)),
            None => Ok(()),
        }
    }
}
