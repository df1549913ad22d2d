// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `/dev/ckpt`: one method per request of the module.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};

use zerocopy::{FromZeros, IntoBytes};

use crate::Result;
use crate::raw::syscall;
use crate::uapi::{
    CKPT_IOC_MAGIC, CKPT_MAX_LEVEL, Pending, Process, SetIds, SetPid, SetStart, Sigaction,
    Sigactions, Socket, SocketQueue, Thread, Usage, Version, nr,
};

/// Where the device is.
pub const PATH: &str = "/dev/ckpt";

const READ: u32 = 2;
const WRITE: u32 = 1;

/// An ioctl number: `_IOC(direction, kind, number, size)` of x86.
pub(crate) const fn request(direction: u32, kind: u32, number: u32, size: usize) -> libc::c_ulong {
    (direction << 30 | (size as u32) << 16 | kind << 8 | number) as libc::c_ulong
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
        file.map(Self).map_err(|error| {
            error
                .raw_os_error()
                .map_or(nix::errno::Errno::EIO, nix::errno::Errno::from_raw)
        })
    }

    fn ask<T: IntoBytes>(&self, direction: u32, number: u32, argument: &mut T) -> Result<()> {
        let request = request(direction, CKPT_IOC_MAGIC, number, size_of::<T>());
        // SAFETY: `argument` is a plain structure of the size in the request number; those of the
        // requests with further pointers get them from callers that hold the memory.
        unsafe {
            syscall!(
                libc::SYS_ioctl,
                self.0.as_raw_fd(),
                request,
                std::ptr::from_mut(argument)
            )
        }?;
        Ok(())
    }

    /// What the module can do.
    pub fn version(&self) -> Result<Version> {
        let mut version = Version::new_zeroed();
        self.ask(READ | WRITE, nr::VERSION, &mut version)?;
        Ok(version)
    }

    /// Gives a task other numbers, innermost pid namespace first; see [`SetPid`].
    pub fn set_pid(&self, task: BorrowedFd<'_>, numbers: &[i32]) -> Result<()> {
        if numbers.is_empty() || numbers.len() > CKPT_MAX_LEVEL {
            return Err(nix::errno::Errno::EINVAL);
        }
        let mut argument = SetPid::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        argument.count = numbers.len() as u32;
        argument.nr[..numbers.len()].copy_from_slice(numbers);
        self.ask(WRITE, nr::SET_PID, &mut argument)
    }

    /// Puts a process into a group and a session; 0 leaves one. See [`SetIds`].
    pub fn set_ids(&self, task: BorrowedFd<'_>, pgid: i32, sid: i32) -> Result<()> {
        let mut argument = SetIds {
            pidfd: task.as_raw_fd(),
            flags: 0,
            pgid,
            sid,
        };
        self.ask(WRITE, nr::SET_IDS, &mut argument)
    }

    /// Sets when a process began, in nanoseconds on both clocks. See [`SetStart`].
    pub fn set_start(&self, task: BorrowedFd<'_>, monotonic: u64, boottime: u64) -> Result<()> {
        let mut argument = SetStart {
            pidfd: task.as_raw_fd(),
            flags: 0,
            start_time: monotonic,
            start_boottime: boottime,
        };
        self.ask(WRITE, nr::SET_START, &mut argument)
    }

    /// The actions of signals 1..=64.
    pub fn signal_actions(&self, task: BorrowedFd<'_>) -> Result<Vec<Sigaction>> {
        let mut argument = Sigactions::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        self.ask(READ | WRITE, nr::SIGACTIONS, &mut argument)?;
        Ok(argument.action.to_vec())
    }

    /// What belongs to one thread.
    pub fn thread(&self, task: BorrowedFd<'_>) -> Result<Thread> {
        let mut argument = Thread::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        self.ask(READ | WRITE, nr::THREAD, &mut argument)?;
        Ok(argument)
    }

    /// What belongs to a process.
    pub fn process(&self, task: BorrowedFd<'_>) -> Result<Process> {
        let mut argument = Process::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        self.ask(READ | WRITE, nr::PROCESS, &mut argument)?;
        Ok(argument)
    }

    /// What resources a process has used, which may be a zombie.
    pub fn usage(&self, process: BorrowedFd<'_>) -> Result<Usage> {
        let mut argument = Usage::new_zeroed();
        argument.pidfd = process.as_raw_fd();
        self.ask(READ | WRITE, nr::USAGE, &mut argument)?;
        Ok(argument)
    }

    /// Adds to what a process has used. See [`Usage`].
    pub fn add_usage(&self, process: BorrowedFd<'_>, usage: &Usage) -> Result<()> {
        let mut argument = Usage {
            pidfd: process.as_raw_fd(),
            flags: 0,
            ..*usage
        };
        self.ask(WRITE, nr::ADD_USAGE, &mut argument)
    }

    /// A socket of a process, with what waits in its accept queue.
    pub fn socket(&self, task: BorrowedFd<'_>, fd: i32) -> Result<(Socket, Vec<Pending>)> {
        let mut room = 16;
        loop {
            let mut pending = vec![Pending::default(); room];
            let mut argument = Socket::new_zeroed();
            argument.pidfd = task.as_raw_fd();
            argument.fd = fd;
            argument.pending_room = room as u32;
            argument.pending_buf = pending.as_mut_ptr() as u64;
            self.ask(READ | WRITE, nr::SOCKET, &mut argument)?;
            argument.pending_buf = 0;
            let waiting = argument.pending as usize;
            if waiting <= room {
                pending.truncate(waiting);
                return Ok((argument, pending));
            }
            // More may come before we ask again.
            room = waiting + 16;
        }
    }

    /// Copies a message of a Unix socket, or a queue of a TCP socket (`message` 0), which stay where
    /// they are: as much as `length` bytes have room for, and how many bytes there are.
    ///
    /// # Errors
    ///
    /// `ENODATA` if there is no such message, `EOPNOTSUPP` if it is not such a socket.
    pub fn socket_queue(
        &self,
        task: BorrowedFd<'_>,
        fd: i32,
        queue: u32,
        message: u32,
        length: usize,
    ) -> Result<(Vec<u8>, u64)> {
        let mut bytes = vec![0; length];
        let mut argument = SocketQueue::new_zeroed();
        argument.pidfd = task.as_raw_fd();
        argument.fd = fd;
        argument.queue = queue;
        argument.message = message;
        argument.buf = bytes.as_mut_ptr() as u64;
        argument.len = length as u64;
        self.ask(READ | WRITE, nr::SOCKET_QUEUE, &mut argument)?;
        bytes.truncate(argument.size as usize);
        Ok((bytes, argument.size))
    }
}
