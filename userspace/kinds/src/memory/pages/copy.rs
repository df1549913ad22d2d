// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Copies pages into the image.
//!
//! Reading another task's memory and writing a file are each a copy by the kernel. With a buffer
//! that fits into a processor's cache, the second copy finds its source there. Several workers do
//! both: only one at a time can write a file (its inode is locked), but meanwhile the others read.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use crust_model::{Error, Result};
use crust_sys::buffer::Buffer;
use crust_sys::memory::{MAX_RANGES, RemoteRange, read_ranges};
use crust_sys::{RemoteAddr, word};
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::parallel;
use nix::errno::Errno;

use super::Runs;

// This was measured: less costs calls, more leaves the second-level cache.
const BUFFER: usize = 512 << 10;
// Only one writes at a time, so more would wait for each other.
const WORKERS: usize = 4;

/// The source of pages.
pub(super) enum Source {
    /// The memory of a stopped task; the file is its `/proc/PID/mem`.
    Task(i32, File),
    /// The memory of a copy of a task. `process_vm_readv` would give it pages of its own for all that it still shares
    /// (mm/gup.c:gup_must_unshare); reading its `/proc/PID/mem` only looks at them.
    Copy(i32, File),
    /// An object of shared memory.
    File(File),
}

/// Pages to copy.
pub(super) struct Job {
    pub(super) source: Arc<Source>,
    pub(super) runs: Runs,
    /// The offset in the image at which the first page goes.
    pub(super) offset: u64,
}

/// The offset, length and checksum of a stretch of the image.
pub(super) type Sum = (u64, u64, u64);

impl Job {
    /// Creates a job that copies the pages `runs` to the image, from `offset` on.
    pub(super) fn new(source: Arc<Source>, runs: Runs, offset: u64) -> Self {
        Self {
            source,
            runs,
            offset,
        }
    }

    /// Returns a job for the same pages from another source.
    pub(super) fn from(self, source: &Arc<Source>) -> Self {
        Self {
            source: Arc::clone(source),
            ..self
        }
    }
}

impl Source {
    /// Opens the memory of a process.
    pub(super) fn task(process: &FrozenProcess) -> Result<Self> {
        let memory = crust_proc::open(&process.proc, process.pid, "mem")?;
        Ok(Self::Task(process.task(), File::from(memory)))
    }

    /// Reads ranges, one after the other, and returns the number of bytes.
    fn read(&self, ranges: &[Range<u64>], buffer: &mut [u8]) -> Result<usize> {
        let total: usize = ranges.iter().map(length).sum();
        let buffer = &mut buffer[..total];
        let mut done = match self {
            Self::Task(pid, _) => read_task(*pid, ranges, buffer)?,
            Self::Copy(..) | Self::File(_) => 0,
        };
        // The remaining pages are those that the task itself may not read; its tracer may.
        let (Self::Task(_, file) | Self::Copy(_, file) | Self::File(file)) = self;
        let mut start = 0;
        for range in ranges {
            let end = start + length(range);
            if end > done {
                let at = range.start + (done - start) as u64;
                let part = &mut buffer[done..end];
                let read = match self {
                    Self::File(_) => read_to_end(file, part, at),
                    _ => file.read_exact_at(part, at),
                };
                read.map_err(|error| self.failed(at, &error))?;
                done = end;
            }
            start = end;
        }
        Ok(total)
    }

    fn failed(&self, at: u64, error: &std::io::Error) -> Error {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EFAULT));
        match self {
            // The kernel reads nothing from an address space that is gone.
            Self::Task(pid, _) | Self::Copy(pid, _)
                if error.kind() == std::io::ErrorKind::UnexpectedEof =>
            {
                Error::task(*pid, format!("read memory at {at:x}"), Errno::ESRCH)
            }
            Self::Task(pid, _) | Self::Copy(pid, _) => {
                Error::task(*pid, format!("read memory at {at:x}"), errno)
            }
            Self::File(_) => Error::system(format!("read shared memory at {at:x}"), errno),
        }
    }
}

/// Reads pages of a file, which may end within the last of them; the rest is filled with zeros.
fn read_to_end(file: &File, mut pages: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !pages.is_empty() {
        match file.read_at(pages, at) {
            Ok(0) => {
                pages.fill(0);
                break;
            }
            Ok(got) => {
                at += got as u64;
                pages = &mut pages[got..];
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(super) fn length(range: &Range<u64>) -> usize {
    word::to_size(range.end - range.start)
}

/// Reads as much as the task itself could.
fn read_task(pid: i32, ranges: &[Range<u64>], buffer: &mut [u8]) -> Result<usize> {
    let remote: Vec<_> = ranges
        .iter()
        .map(|range| RemoteRange {
            start: RemoteAddr(range.start),
            length: length(range),
        })
        .collect();
    match read_ranges(pid, &remote, &mut [IoSliceMut::new(buffer)]) {
        Err(Errno::EFAULT) => Ok(0),
        result => result.map_err(|errno| Error::task(pid, "read memory", errno)),
    }
}

/// Copies all pages of all jobs, and returns the checksums of what was written, if they are wanted.
///
/// `written` is called with the number of bytes written so far, and can abort the copy.
pub(super) fn copy(
    jobs: &[Job],
    image: &File,
    sum: bool,
    written: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<Sum>> {
    let total: u64 = jobs.iter().map(|job| job.runs.bytes()).sum();
    if total == 0 {
        return Ok(Vec::new());
    }
    let pieces = jobs.iter().flat_map(|job| {
        job.runs
            .groups(MAX_RANGES, BUFFER as u64)
            .map(move |(before, ranges)| (&*job.source, ranges, job.offset + before))
    });
    let pieces = Mutex::new(pieces.fuse());
    let done = AtomicU64::new(0);
    // These are pages that the task itself may not read: with CONFIG_PROC_MEM_FORCE_PTRACE the kernel shows them only
    // to the thread that traces it, which is ours (fs/proc/base.c:proc_mem_foll_force).
    let left = Mutex::new(Vec::new());
    let work = |tell: &mut dyn FnMut(u64) -> Result<()>| -> Result<Vec<Sum>> {
        let mut buffer =
            Buffer::new(BUFFER).map_err(|errno| Error::system("allocate a buffer", errno))?;
        let mut sums = Vec::new();
        loop {
            let next = pieces.lock().ok().and_then(|mut pieces| pieces.next());
            let Some((source, ranges, offset)) = next else {
                return Ok(sums);
            };
            let told = match transfer(source, &ranges, &mut buffer, image, offset) {
                Ok(bytes) => {
                    let length = bytes.len() as u64;
                    if sum {
                        sums.push((offset, length, crust_image::pages::checksum(bytes)));
                    }
                    tell(done.fetch_add(length, Ordering::Relaxed) + length)
                }
                Err(Error::Task {
                    errno: Errno::EIO, ..
                }) => {
                    if let Ok(mut left) = left.lock() {
                        left.push((source, ranges, offset));
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            };
            if let Err(error) = told {
                if let Ok(mut pieces) = pieces.lock() {
                    pieces.by_ref().for_each(drop);
                }
                return Err(error);
            }
        }
    };
    let helpers = parallel::processors()
        .min(WORKERS)
        .min(word::to_size(total).div_ceil(BUFFER))
        - 1;
    thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers)
            .map(|_| scope.spawn(|| work(&mut |_| Ok(()))))
            .collect();
        let mut result = work(written);
        for helper in helpers {
            // A panic is a bug: let it be seen as such.
            let sums = helper
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and_then(|mut all| {
                all.extend(sums?);
                Ok(all)
            });
        }
        result
    })
    .and_then(|mut sums| {
        let mut buffer =
            Buffer::new(BUFFER).map_err(|errno| Error::system("allocate a buffer", errno))?;
        for (source, ranges, offset) in left.into_inner().unwrap_or_default() {
            let bytes = transfer(source, &ranges, &mut buffer, image, offset)?;
            if sum {
                let checksum = crust_image::pages::checksum(bytes);
                sums.push((offset, bytes.len() as u64, checksum));
            }
        }
        Ok(sums)
    })
}

/// Copies ranges into the image, and returns the bytes that it copied.
fn transfer<'b>(
    source: &Source,
    ranges: &[Range<u64>],
    buffer: &'b mut [u8],
    image: &File,
    offset: u64,
) -> Result<&'b [u8]> {
    let length = source.read(ranges, buffer)?;
    let bytes = &buffer[..length];
    image.write_all_at(bytes, offset).map_err(|error| {
        let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
        Error::system("write pages to the image", errno)
    })?;
    Ok(bytes)
}
