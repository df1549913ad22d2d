// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Copying pages into the image: one thread reads, one writes.
//!
//! Reading another task's memory and writing a file are each a copy by the kernel. With a buffer
//! that fits into the cache of a processor the second finds its source there, and the two run side
//! by side; on a single processor nothing is lost.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::mpsc;
use std::thread;

use crust_sys::RemoteAddr;
use crust_sys::buffer::Buffer;
use crust_sys::memory::{MAX_RANGES, RemoteRange, read_ranges};
use nix::errno::Errno;

use super::Runs;
use crate::progress::Progress;
use crate::subject::FrozenProcess;
use crate::{Error, Result, procfs};

// Measured: less costs calls, more leaves the second-level cache.
const BUFFER: usize = 512 << 10;
const BUFFERS: usize = 4;

/// Where pages come from.
pub(super) enum Source {
    /// The memory of a stopped task; the file is its `/proc/PID/mem`.
    Task(i32, File),
    /// An object of shared memory.
    File(File),
}

/// Pages to copy.
pub(super) struct Job {
    source: Source,
    runs: Runs,
    offset: u64,
}

/// Offset, length and checksum of a stretch of the image.
pub(super) type Sum = (u64, u64, u32);

impl Job {
    /// The pages `runs` go to the image, from `offset` on.
    pub(super) fn new(source: Source, runs: Runs, offset: u64) -> Self {
        Self {
            source,
            runs,
            offset,
        }
    }
}

impl Source {
    /// The memory of a process.
    pub(super) fn task(process: &FrozenProcess) -> Result<Self> {
        let memory = procfs::open(&process.proc, process.pid, "mem")?;
        Ok(Self::Task(process.pid, File::from(memory)))
    }

    /// Reads ranges, one behind the other; returns how many bytes.
    fn read(&self, ranges: &[Range<u64>], buffer: &mut [u8]) -> Result<usize> {
        let total: usize = ranges.iter().map(length).sum();
        let buffer = &mut buffer[..total];
        let mut done = match self {
            Self::Task(pid, _) => read_task(*pid, ranges, buffer)?,
            Self::File(_) => 0,
        };
        // What is left are pages that the task itself may not read; its tracer may.
        let (Self::Task(_, file) | Self::File(file)) = self;
        let mut start = 0;
        for range in ranges {
            let end = start + length(range);
            if end > done {
                let at = range.start + (done - start) as u64;
                file.read_exact_at(&mut buffer[done..end], at)
                    .map_err(|error| self.failed(at, &error))?;
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
            Self::Task(pid, _) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Error::task(*pid, format!("read memory at {at:x}"), Errno::ESRCH)
            }
            Self::Task(pid, _) => Error::task(*pid, format!("read memory at {at:x}"), errno),
            Self::File(_) => Error::system(format!("read shared memory at {at:x}"), errno),
        }
    }
}

fn length(range: &Range<u64>) -> usize {
    (range.end - range.start) as usize
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

/// A full buffer on its way to the image.
struct Full {
    buffer: Buffer,
    length: usize,
    offset: u64,
}

/// Copies all pages of all jobs, and returns the checksums of what was written.
pub(super) fn copy(jobs: &[Job], image: &File, progress: &mut dyn Progress) -> Result<Vec<Sum>> {
    let total: u64 = jobs.iter().map(|job| job.runs.bytes()).sum();
    if total == 0 {
        return Ok(Vec::new());
    }
    let (to_writer, from_reader) = mpsc::channel::<Full>();
    let (give_back, empty) = mpsc::channel();
    for _ in 0..BUFFERS {
        let buffer =
            Buffer::new(BUFFER).map_err(|errno| Error::system("allocate a buffer", errno))?;
        // The receiver is here.
        let _ = give_back.send(buffer);
    }
    thread::scope(|scope| {
        let writer = scope.spawn(move || write_all(image, &from_reader, &give_back));
        let read = read_all(jobs, &empty, &to_writer, |done| {
            progress.memory(done, total)
        });
        drop(to_writer);
        let sums = writer.join().unwrap_or_else(|panic| {
            // A bug: let it be seen as such.
            std::panic::resume_unwind(panic)
        });
        // If the writer gave up, the reader only knows that it did.
        let sums = sums?;
        read.map(|()| sums)
    })
}

fn read_all(
    jobs: &[Job],
    empty: &mpsc::Receiver<Buffer>,
    to_writer: &mpsc::Sender<Full>,
    mut tell: impl FnMut(u64),
) -> Result<()> {
    let mut done = 0;
    for job in jobs {
        for (before, ranges) in job.runs.groups(MAX_RANGES, BUFFER as u64) {
            // Without a writer there is nobody to read for; it says why.
            let Ok(mut buffer) = empty.recv() else {
                return Ok(());
            };
            let length = job.source.read(&ranges, &mut buffer)?;
            let full = Full {
                buffer,
                length,
                offset: job.offset + before,
            };
            if to_writer.send(full).is_err() {
                return Ok(());
            }
            done += length as u64;
            tell(done);
        }
    }
    Ok(())
}

fn write_all(
    image: &File,
    from_reader: &mpsc::Receiver<Full>,
    give_back: &mpsc::Sender<Buffer>,
) -> Result<Vec<Sum>> {
    let mut sums = Vec::new();
    while let Ok(full) = from_reader.recv() {
        let bytes = &full.buffer[..full.length];
        image.write_all_at(bytes, full.offset).map_err(|error| {
            let errno = Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO));
            Error::system("write pages to the image", errno)
        })?;
        let checksum = crust_image::pages::checksum(bytes);
        sums.push((full.offset, full.length as u64, checksum));
        // The reader may be done.
        let _ = give_back.send(full.buffer);
    }
    Ok(sums)
}
