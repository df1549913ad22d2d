// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `/dev/ckpt`: one method for each request of the module.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use zerocopy::FromZeros;

use crate::raw::syscall;
use crate::uapi::{
    CKPT_IOC_MAGIC, Process, Request, SetIds, SetStart, Sigaction, Sigactions, Thread, Usage,
};
use crate::{Result, word};

/// The path of the device.
pub const PATH: &str = "/dev/ckpt";

const READ: u32 = 2;
const WRITE: u32 = 1;

/// Computes an ioctl number: `_IOC(direction, kind, number, size)` of x86.
pub(crate) const fn request(direction: u32, kind: u32, number: u32, size: usize) -> libc::c_ulong {
    assert!(size < 1 << 14, "_IOC_SIZEBITS is 14");
    (direction << 30 | word::to_uint(size as u64) << 16 | kind << 8 | number) as libc::c_ulong
}

/// Returns the ioctl number of a request.
#[must_use]
pub const fn number<T: Request>() -> libc::c_ulong {
    let direction = if T::ANSWERS { READ | WRITE } else { WRITE };
    request(direction, CKPT_IOC_MAGIC, T::NR, size_of::<T>())
}

/// Whether the module knows a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The module knows the request as we do.
    Yes,
    /// The module does not know the request, or has a smaller structure than ours (an older
    /// module).
    No,
    /// The module has another definition of the request (a module of another interface).
    Otherwise(Errno),
}

/// The open device.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// Opens the device.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the module is not loaded, `EACCES`.
    pub fn open() -> Result<Self> {
        let file = File::options().read(true).write(true).open(PATH);
        file.map(Self)
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }

    fn ask<T: Request>(&self, argument: &mut T) -> Result<()> {
        // SAFETY: `argument` is a plain structure of the size in the request number; callers of
        // requests with further pointers set these to memory that they hold.
        unsafe {
            syscall!(
                libc::SYS_ioctl,
                self.0.as_raw_fd(),
                number::<T>(),
                std::ptr::from_mut(argument)
            )
        }?;
        Ok(())
    }

    /// Returns whether the module knows a request as we do. Nothing is changed, because no
    /// descriptor is named.
    #[must_use]
    pub fn knows<T: Request>(&self) -> Known {
        match self.ask(&mut T::probe()) {
            Err(Errno::EBADF) => Known::Yes,
            Err(Errno::ENOTTY | Errno::E2BIG) => Known::No,
            Err(errno) => Known::Otherwise(errno),
            Ok(()) => Known::Otherwise(Errno::UnknownErrno),
        }
    }

    /// Puts a process into a process group and a session; 0 leaves one unchanged. See [`SetIds`].
    pub fn set_ids(&self, task: BorrowedFd<'_>, pgid: i32, sid: i32) -> Result<()> {
        self.ask(&mut SetIds {
            pidfd: task.as_raw_fd(),
            flags: 0,
            pgid,
            sid,
        })
    }

    /// Sets the start time of a task, in nanoseconds on the boot-time clock of crust. See
    /// [`SetStart`].
    pub fn set_start(&self, task: BorrowedFd<'_>, boottime: u64) -> Result<()> {
        self.ask(&mut SetStart {
            pidfd: task.as_raw_fd(),
            flags: 0,
            start_boottime: boottime,
        })
    }

    /// Adds to the resource usage of a process. See [`Usage`].
    pub fn add_usage(&self, process: BorrowedFd<'_>, usage: &Usage) -> Result<()> {
        self.ask(&mut Usage {
            pidfd: process.as_raw_fd(),
            flags: 0,
            ..*usage
        })
    }

    /// Returns the actions of signals 1..=64.
    pub fn signal_actions(&self, task: BorrowedFd<'_>) -> Result<Vec<Sigaction>> {
        let mut argument = Sigactions::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        self.ask(&mut argument)?;
        Ok(argument.action.to_vec())
    }

    /// Returns the state of one thread.
    pub fn thread(&self, task: BorrowedFd<'_>) -> Result<Thread> {
        let mut argument = Thread::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        self.ask(&mut argument)?;
        Ok(argument)
    }

    /// Returns the state of a process.
    pub fn process(&self, task: BorrowedFd<'_>) -> Result<Process> {
        let mut argument = Process::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        self.ask(&mut argument)?;
        Ok(argument)
    }
}
