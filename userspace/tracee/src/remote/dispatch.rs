// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Syscall user dispatch (`PR_SET_SYSCALL_USER_DISPATCH`) of a thread that is to make calls for us: they
//! would become signals. Unlike seccomp filters it does not rest while a thread is traced.

use crust_model::{Error, Result};
use crust_sys::ptrace::{self, UserDispatch};
use nix::errno::Errno;

/// What is off for the moment.
#[derive(Debug, Default)]
pub struct Dispatch(Option<UserDispatch>);

impl Dispatch {
    /// Switches it off.
    ///
    /// # Errors
    ///
    /// [`Error::Task`] if it could not be switched on again (Linux 7.1: `kernel.syscall_user_dispatch`);
    /// then it is as it was.
    pub fn suspend(tid: i32) -> Result<Self> {
        let failed = |errno| Error::task(tid, "switch its syscall user dispatch off", errno);
        match ptrace::user_dispatch(tid) {
            Ok(config) if config.mode != 0 => {
                ptrace::set_user_dispatch(tid, &config)
                    .and_then(|()| ptrace::set_user_dispatch(tid, &UserDispatch::default()))
                    .map_err(failed)?;
                Ok(Self(Some(config)))
            }
            // EIO: a kernel before 6.4, which does not tell.
            Ok(_) | Err(Errno::EIO | Errno::EINVAL) => Ok(Self(None)),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Switches it on again, if it was on.
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
