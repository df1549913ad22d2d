// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Images that go through a pipe: from a dump by the standard output, into a restore by the
//! standard input.
//!
//! The stream is the image as it would be in a file, byte for byte. `docs/format.md` says why it is
//! in a temporary file at both ends.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crust_image::Reader;
use crust_model::observer::{Observer, Point};
use crust_model::{Error, Result};
use crust_sys::word;
use crust_tracee::interrupt::Interrupts;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::request::Place;

/// How much is written at once, and the maximum distance between progress reports.
const PART: usize = 1 << 20;
/// How often to check whether the user wants to end, while the reader of the stream keeps us
/// waiting.
const PAUSE: Duration = Duration::from_millis(50);

/// Opens an image from a file or a stream.
///
/// An image from a stream is read to its end, and all of its checksums are verified, including
/// those of memory: it has just come from elsewhere, and is in the page cache anyway.
pub fn open(place: &Place) -> Result<Reader> {
    let image = match place {
        Place::File(path) => Reader::open(path)?,
        Place::Stream => {
            let image = receive()?;
            image.verify_pages()?;
            image
        }
    };
    Ok(image)
}

/// Reads an image from the standard input to its end.
pub fn receive() -> Result<Reader> {
    // Without the buffer of the standard library, because nothing else reads from it.
    let mut input = std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .map(File::from)
        .map_err(|error| Error::from_io("open the standard input", &error))?;
    Ok(Reader::receive(&mut input, "standard input")?)
}

/// The standard output, to which an image is sent.
#[derive(Debug)]
pub struct Sink(File);

impl Sink {
    /// Opens the standard output, and checks that it has a reader, before anything is stopped.
    pub fn open() -> Result<Self> {
        let output = std::io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(|error| Error::from_io("open the standard output", &error))?;
        let mut ready = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
        let ends = PollFlags::POLLERR | PollFlags::POLLHUP;
        if poll(&mut ready, PollTimeout::ZERO).is_ok()
            && ready[0].revents().is_some_and(|now| now.intersects(ends))
        {
            return Err(lost(Errno::EPIPE));
        }
        Ok(Self(File::from(output)))
    }

    /// Sends `length` bytes, which are the whole file.
    ///
    /// The standard output stays open until crust ends: whoever reads to the end of the stream
    /// knows that everything that the dump does afterwards is done, too.
    ///
    /// # Errors
    ///
    /// Fails if the reader has gone, or the user asks to end. In that case a part may have been
    /// sent, which no restore takes for an image.
    pub fn send(
        self,
        image: File,
        length: u64,
        interrupts: &Interrupts,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        // Writing may take as long as the reader likes, and no signal interrupts it, because all are
        // blocked. If the user has had enough, the thread is left behind in its call, and ends with
        // crust.
        let (tell, told) = mpsc::channel();
        let sender = thread::spawn(move || copy(&image, self.0, length, &tell));
        let mut sent = 0;
        loop {
            match told.recv_timeout(PAUSE) {
                Ok(part) => {
                    sent += part;
                    observer.tell(&Point::Sent {
                        done: sent,
                        total: length,
                    });
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            interrupts.check()?;
        }
        sender
            .join()
            .map_err(|_| Error::system("send the image: the thread", Errno::EIO))?
    }
}

/// Copies a whole image to the standard output.
fn copy(image: &File, mut output: File, length: u64, tell: &Sender<u64>) -> Result<()> {
    let mut buffer = vec![0; PART];
    let mut at = 0;
    while at < length {
        let part = PART.min(word::to_size(length - at));
        let part = &mut buffer[..part];
        image
            .read_exact_at(part, at)
            .map_err(|error| Error::from_io("read the image, to send it", &error))?;
        match output.write_all(part) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(lost(Errno::EPIPE)),
            Err(error) => {
                return Err(Error::from_io(
                    "send the image to the standard output",
                    &error,
                ));
            }
        }
        at += part.len() as u64;
        let _ = tell.send(part.len() as u64);
    }
    Ok(())
}

/// Returns the error for a standard output without a reader.
fn lost(errno: Errno) -> Error {
    let what = "send the image to the standard output, from which nobody reads (any more)";
    Error::system(what, errno)
}
