// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `/dev/ckpt`: one method per request of the module.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use zerocopy::FromZeros;

use crate::Result;
use crate::raw::syscall;
use crate::uapi::{
    CKPT_IOC_MAGIC, CKPT_MAX_LEVEL, Messages, Process, Request, SetIds, SetPid, SetStart,
    Sigaction, Sigactions, Tcp, Thread, Usage,
};

/// Where the device is.
pub const PATH: &str = "/dev/ckpt";

const READ: u32 = 2;
const WRITE: u32 = 1;

/// An ioctl number: `_IOC(direction, kind, number, size)` of x86.
pub(crate) const fn request(direction: u32, kind: u32, number: u32, size: usize) -> libc::c_ulong {
    (direction << 30 | (size as u32) << 16 | kind << 8 | number) as libc::c_ulong
}

/// The ioctl number of a request.
#[must_use]
pub const fn number<T: Request>() -> libc::c_ulong {
    let direction = if T::ANSWERS { READ | WRITE } else { WRITE };
    request(direction, CKPT_IOC_MAGIC, T::NR, size_of::<T>())
}

/// How a module takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// With all that we know.
    Yes,
    /// Not at all, or with a smaller structure than ours (an older module).
    No,
    /// With something else than we do (a module of another interface).
    Otherwise(Errno),
}

/// The opened device.
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
        // SAFETY: `argument` is a plain structure of the size in the request number; those of the
        // requests with further pointers get them from callers that hold the memory.
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

    /// Whether the module knows a request as we do. Nothing is changed: no descriptor is named.
    #[must_use]
    pub fn knows<T: Request>(&self) -> Known {
        match self.ask(&mut T::probe()) {
            Err(Errno::EBADF) => Known::Yes,
            Err(Errno::ENOTTY | Errno::E2BIG) => Known::No,
            Err(errno) => Known::Otherwise(errno),
            Ok(()) => Known::Otherwise(Errno::UnknownErrno),
        }
    }

    /// Gives a task other numbers, innermost pid namespace first; see [`SetPid`].
    pub fn set_pid(&self, task: BorrowedFd<'_>, numbers: &[i32]) -> Result<()> {
        if numbers.is_empty() || numbers.len() > CKPT_MAX_LEVEL {
            return Err(Errno::EINVAL);
        }
        let mut argument = SetPid::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        argument.count = numbers.len() as u32;
        argument.nr[..numbers.len()].copy_from_slice(numbers);
        self.ask(&mut argument)
    }

    /// Puts a process into a group and a session; 0 leaves one. See [`SetIds`].
    pub fn set_ids(&self, task: BorrowedFd<'_>, pgid: i32, sid: i32) -> Result<()> {
        self.ask(&mut SetIds {
            pidfd: task.as_raw_fd(),
            flags: 0,
            pgid,
            sid,
        })
    }

    /// Sets when a task began, in nanoseconds on the boot-time clock of crust. See [`SetStart`].
    pub fn set_start(&self, task: BorrowedFd<'_>, boottime: u64) -> Result<()> {
        self.ask(&mut SetStart {
            pidfd: task.as_raw_fd(),
            flags: 0,
            start_boottime: boottime,
        })
    }

    /// Adds to what a process has used. See [`Usage`].
    pub fn add_usage(&self, process: BorrowedFd<'_>, usage: &Usage) -> Result<()> {
        self.ask(&mut Usage {
            pidfd: process.as_raw_fd(),
            flags: 0,
            ..*usage
        })
    }

    /// The actions of signals 1..=64.
    pub fn signal_actions(&self, task: BorrowedFd<'_>) -> Result<Vec<Sigaction>> {
        let mut argument = Sigactions::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        self.ask(&mut argument)?;
        Ok(argument.action.to_vec())
    }

    /// What belongs to one thread.
    pub fn thread(&self, task: BorrowedFd<'_>) -> Result<Thread> {
        let mut argument = Thread::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        self.ask(&mut argument)?;
        Ok(argument)
    }

    /// What belongs to a process.
    pub fn process(&self, task: BorrowedFd<'_>) -> Result<Process> {
        let mut argument = Process::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        self.ask(&mut argument)?;
        Ok(argument)
    }

    /// A TCP connection and, as far as there is room, what is in its queues; `child` is 0, or the number of one
    /// that the socket has not accepted.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is no such connection.
    pub fn tcp(
        &self,
        socket: BorrowedFd<'_>,
        child: u32,
        received: &mut [u8],
        sent: &mut [u8],
    ) -> Result<Tcp> {
        let mut argument = Tcp {
            fd: socket.as_raw_fd(),
            child,
            recv_buf: received.as_mut_ptr() as u64,
            recv_len: received.len() as u64,
            send_buf: sent.as_mut_ptr() as u64,
            send_len: sent.len() as u64,
            ..Tcp::default()
        };
        self.ask(&mut argument)?;
        Ok(argument)
    }

    /// Copies, as far as there is room, what waits in a UDP or Unix socket; `child` as in [`Self::tcp`].
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is no such connection.
    pub fn messages(
        &self,
        socket: BorrowedFd<'_>,
        child: u32,
        room: &mut [u8],
    ) -> Result<Messages> {
        let mut argument = Messages {
            fd: socket.as_raw_fd(),
            child,
            buf: room.as_mut_ptr() as u64,
            len: room.len() as u64,
            ..Messages::default()
        };
        self.ask(&mut argument)?;
        Ok(argument)
    }
}
