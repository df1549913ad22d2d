// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A copy of a process that itself writes its memory into the image: the kernel copies each page
//! once, rather than first to crust and then to the file.
//!
//! The copy gets the image as any process gets a descriptor from another one, with a message over a
//! socket, and writes with `pwritev` directly from its pages.

use std::fs::File;
use std::io::IoSlice;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

use crust_model::plan::{Call, Data};
use crust_model::{Error, Result};
use crust_sys::memory::{self, MAX_RANGES};
use crust_sys::{RemoteAddr, pidfd, word};
use crust_tracee::batch;
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::remote::{Caller, error_number};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use zerocopy::IntoBytes;

use super::cow::CowCopy;
use super::{Runs, copy};

/// How much memory, in bytes, makes a copy that writes worthwhile: making one and giving it the
/// image takes as long as copying some megabytes.
pub(super) const WORTH: u64 = 16 << 20;

/// The bytes of one call: after each call the user is informed, and can interrupt.
const PIECE: u64 = 64 << 20;

/// The size of the memory for the arguments of its calls, in bytes.
const SCRATCH: u64 = MAX_RANGES as u64 * 16;

/// A copy of a process that writes its own memory into the image.
pub(super) struct ForkWriter {
    caller: Caller,
    scratch: RemoteAddr,
    /// The number of the image's descriptor in the copy.
    image: u64,
}

impl ForkWriter {
    /// Prepares a copy to write up to byte `end` of the image. Returns `None` if it may not.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Gone`] if the copy has died.
    pub(super) fn new(
        copy: &CowCopy,
        process: &FrozenProcess,
        image: &File,
        end: u64,
    ) -> Result<Option<Self>> {
        // What the copy writes would be charged to the control group of the program, which may have
        // a limit.
        let groups = crust_proc::read(&process.proc, process.pid, "cgroup")?;
        if std::fs::read("/proc/self/cgroup").is_ok_and(|ours| ours != groups) {
            return Ok(None);
        }
        match Self::prepare(copy.caller(), image, end) {
            Err(Error::Task {
                operation, errno, ..
            }) => {
                tracing::info!(%operation, %errno, "a copy cannot write, and is read");
                Ok(None)
            }
            result => result,
        }
    }

    fn prepare(caller: &Caller, image: &File, end: u64) -> Result<Option<Self>> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let (protection, flags) = (word::from_int(protection), word::from_int(flags));
        let args = [0, SCRATCH, protection, flags, u64::MAX, 0];
        let scratch = RemoteAddr(caller.call("map scratch memory", libc::SYS_mmap, &args)?);
        let failed = |what: &'static str| move |errno| Error::task(caller.tid, what, errno);

        let args = [u64::from(libc::RLIMIT_FSIZE), scratch.0];
        caller.call("ask for its limits", libc::SYS_getrlimit, &args)?;
        let mut limit = 0_u64;
        memory::read(caller.pid, scratch, limit.as_mut_bytes()).map_err(failed("its limits"))?;
        if limit < end {
            return Ok(None);
        }

        let family = [
            libc::AF_UNIX as u64,
            (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as u64,
            0,
            scratch.0,
        ];
        caller.call("make a socket", libc::SYS_socketpair, &family)?;
        let mut sockets = [0_i32; 2];
        memory::read(caller.pid, scratch, sockets.as_mut_bytes())
            .map_err(failed("the numbers of its sockets"))?;
        let ours = pidfd::open(caller.pid)
            .and_then(|copy| pidfd::get_fd(copy.as_fd(), sockets[0]))
            .map_err(failed("take a socket of it"))?;
        sendmsg::<()>(
            ours.as_raw_fd(),
            &[IoSlice::new(b"i")],
            &[ControlMessage::ScmRights(&[image.as_raw_fd()])],
            MsgFlags::empty(),
            None,
        )
        .map_err(failed("send it the image"))?;

        // struct msghdr with room for one byte and for one descriptor.
        let header = Data::words(&[0, 0, 0, 1, 0, 24, 0])
            .pointer(16, Data::words(&[0, 1]).pointer(0, Data::words(&[0])))
            .pointer(32, Data::words(&[0; 3]));
        let args = [
            sockets[1].into(),
            header.into(),
            libc::MSG_CMSG_CLOEXEC.into(),
        ];
        let call = Call::new("receive the image", libc::SYS_recvmsg, args);
        let args = batch::place(caller, scratch, &call)?;
        caller.call(&call.label, call.nr, &args)?;
        let mut header = [0_u64; 7];
        memory::read(caller.pid, RemoteAddr(args[1]), header.as_mut_bytes())
            .map_err(failed("what it received"))?;
        // struct cmsghdr: length, level and type, then the descriptor.
        let mut control = [0_i32; 6];
        memory::read(caller.pid, RemoteAddr(header[4]), control.as_mut_bytes())
            .map_err(failed("what it received"))?;
        if header[5] < 20 || control[2..4] != [libc::SOL_SOCKET, libc::SCM_RIGHTS] {
            // A security module has kept the file from it.
            return Ok(None);
        }
        Ok(Some(Self {
            caller: caller.clone(),
            scratch,
            image: word::from_int(control[4]),
        }))
    }

    /// Writes `runs` into the image from `offset` on. Pages that the copy itself may not read are skipped and returned,
    /// with the offsets where they go.
    ///
    /// `written` is called with the bytes of each piece, and can abort the writing.
    pub(super) fn write(
        &self,
        runs: &Runs,
        offset: u64,
        mut written: impl FnMut(u64) -> Result<()>,
    ) -> Result<Vec<(Runs, u64)>> {
        const WHAT: &str = "write pages to the image";
        let mut left = Vec::new();
        for (before, ranges) in runs.groups(MAX_RANGES, PIECE) {
            let words: Vec<u64> = ranges
                .iter()
                .flat_map(|range| [range.start, range.end - range.start])
                .collect();
            memory::write(self.caller.pid, self.scratch, words.as_bytes())
                .map_err(|errno| Error::task(self.caller.tid, WHAT, errno))?;
            let at = offset + before;
            let args = [self.image, self.scratch.0, ranges.len() as u64, at];
            let done = word::from_long(self.caller.raw(WHAT, libc::SYS_pwritev, &args)?);
            let done = match error_number(done) {
                None => done,
                Some(Errno::EFAULT) => 0,
                Some(errno) => return Err(Error::system(WHAT, errno)),
            };
            let rest = rest(&ranges, done);
            if !rest.ranges().is_empty() {
                left.push((rest, at + done));
            }
            written(ranges.iter().map(copy::length).sum::<usize>() as u64)?;
        }
        Ok(left)
    }
}

/// Returns the ranges without their first `done` bytes.
fn rest(ranges: &[Range<u64>], mut done: u64) -> Runs {
    let mut rest = Runs::default();
    for range in ranges {
        let skipped = done.min(range.end - range.start);
        done -= skipped;
        if range.start + skipped < range.end {
            rest.push(range.start + skipped..range.end);
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left() {
        let ranges = [0x1000..0x3000, 0x8000..0x9000];
        assert_eq!(rest(&ranges, 0).ranges(), ranges);
        assert_eq!(
            rest(&ranges, 0x1000).ranges(),
            [0x2000..0x3000, 0x8000..0x9000]
        );
        assert_eq!(rest(&ranges, 0x2800).ranges()[0], 0x8800..0x9000);
        assert!(rest(&ranges, 0x3000).ranges().is_empty());
    }
}
