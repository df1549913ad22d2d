// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A pipe or named pipe (FIFO): its ends, its capacity and its contents.
//!
//! The ends of a pipe are found by the inode number of the pipe. The contents are copied by `tee`,
//! which leaves them in place. If one end is in no table of the tree, `poll` tells whether it is
//! closed everywhere, which is restored, or held by a program outside, which is refused: that
//! program cannot be given another pipe.
//!
//! The contents are written back in one piece. How they were split into `write`s only shows in how
//! many of the pipe's slots they take.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use crust_model::object::State;
use crust_model::plan::{Arg, Call, Data, reserved};
use crust_model::refusal::{Counterpart, Refusals};
use crust_model::{Error, Result};
use crust_sys::{fcntl, splice};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::collect::FileCapture;
use super::fd_plan::FdPlanner;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open};
use crate::file::OfFile;
use crate::kind::Kind;
use crate::path::Named;

/// The default capacity of a pipe, in bytes (`PIPE_DEF_BUFFERS` pages).
const DEFAULT_CAPACITY: u32 = 16 * 4096;
/// The number of bytes written by one call.
const CHUNK: usize = 64 << 10;

/// One end of a pipe; or both, if it was opened for reading and writing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipeEnd {
    /// The flags, owner and locks of the description; the access mode tells which end it is.
    pub open: Open,
    /// The pipe, or the end that describes it.
    pub pipe: Place,
}

/// Where the pipe of an end is described: once, with its first end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// The pipe is described here.
    Here(Pipe),
    /// The pipe is described with this other end.
    With(DescriptionId),
}

/// A pipe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipe {
    /// The path and identity of the FIFO, if the pipe is one.
    pub name: Option<Named>,
    /// All ends of the pipe, with their flags.
    pub ends: Vec<(DescriptionId, i32)>,
    /// The capacity, in bytes.
    pub capacity: u32,
    /// The bytes in the pipe.
    pub contents: Vec<u8>,
    /// Whether this is a FIFO that is open for reading and has had no writer since it was opened,
    /// so that `poll` does not report `POLLHUP`.
    pub awaits_writer: bool,
}

impl State for PipeEnd {
    const TAG: u16 = 0x0318;
    const NAME: &'static str = "pipe";
    const SUPPORT: &'static str = "Pipes and FIFOs with both ends in the tree, or with one end \
        closed: contents, capacity, flags. Packet mode (O_DIRECT) is refused.";

    fn describe(&self) -> String {
        let end = self.open.describe();
        match &self.pipe {
            Place::Here(pipe) => {
                let name = match &pipe.name {
                    Some(name) => format!("FIFO {}", name.path),
                    None => "pipe".into(),
                };
                let (length, capacity) = (pipe.contents.len(), pipe.capacity);
                format!("{name} ({end}), {length} of {capacity} bytes")
            }
            Place::With(first) => format!("end ({end}) of the pipe of {first}"),
        }
    }
}

impl File for PipeEnd {
    fn open(&self) -> &Open {
        &self.open
    }

    fn companions(&self) -> Vec<DescriptionId> {
        match &self.pipe {
            Place::Here(_) => Vec::new(),
            Place::With(first) => vec![*first],
        }
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        match &self.pipe {
            Place::With(first) => planner.create_companion(*first),
            Place::Here(pipe) => match &pipe.name {
                None => pipe.create(id, planner),
                Some(name) => pipe.create_named(id, name, planner),
            },
        }
    }

    fn connect(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        if let Place::Here(pipe) = &self.pipe {
            pipe.fill(id, planner)?;
        }
        let number = planner.creator(id)?.number;
        planner.set_flags(number, self.open.flags);
        Ok(())
    }

    fn check(&self, refusals: &mut Refusals) {
        if let Place::Here(Pipe {
            name: Some(name), ..
        }) = &self.pipe
        {
            name.conflicts(refusals);
        }
    }
}

impl Pipe {
    /// Returns the first end that is open in exactly this mode.
    fn end(&self, mode: i32) -> Option<DescriptionId> {
        self.ends
            .iter()
            .find(|(_, flags)| flags & libc::O_ACCMODE == mode)
            .map(|&(id, _)| id)
    }

    /// Makes the first reader and the first writer with `pipe2`; further ones open the pipe again.
    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let made = [self.end(libc::O_RDONLY), self.end(libc::O_WRONLY)];
        let [read, write] = planner.make_pair(made, |numbers| {
            let args = [Arg::from(numbers), Arg::from(0)];
            Call::new("make a pipe", libc::SYS_pipe2, args)
        })?;
        self.resize(read, planner);
        planner.set_other_end(id, write);
        let proc = planner.reserved(reserved::PROC);
        for &(end, flags) in &self.ends {
            if made.contains(&Some(end)) {
                continue;
            }
            planner.make(end, |cloexec| {
                let cloexec = if cloexec { libc::O_CLOEXEC } else { 0 };
                Call::new(
                    "open the pipe again",
                    libc::SYS_openat,
                    [
                        Arg::from(proc),
                        Arg::from(Data::string(format!("self/fd/{read}"))),
                        Arg::from(flags & !libc::O_ASYNC | cloexec),
                        Arg::from(0),
                    ],
                )
            })?;
        }
        Ok(())
    }

    fn create_named(&self, id: DescriptionId, name: &Named, planner: &mut FdPlanner) -> Result<()> {
        let open = |flags: i32| {
            Call::new(
                format!("open FIFO {}", name.path),
                libc::SYS_openat,
                [
                    Arg::from(libc::AT_FDCWD),
                    Arg::from(name.path.data()),
                    Arg::from(flags & !libc::O_ASYNC),
                    Arg::from(0),
                ],
            )
        };
        // Opening one end waits for the other, unless some descriptor already has both ends or the
        // open must not block.
        let mut unblocked = libc::O_NONBLOCK;
        if !self.awaits_writer {
            let both = planner.make_aside(open(libc::O_RDWR | libc::O_NONBLOCK | libc::O_CLOEXEC));
            self.resize(both, planner);
            planner.set_other_end(id, both);
            unblocked = 0;
        }
        for &(end, flags) in &self.ends {
            planner.make(end, |cloexec| {
                let cloexec = if cloexec { libc::O_CLOEXEC } else { 0 };
                open(flags | unblocked | cloexec)
            })?;
            if unblocked & !flags != 0 {
                let number = planner.creator(end)?.number;
                planner.fcntl(
                    number,
                    libc::F_SETFL,
                    flags & !libc::O_ASYNC,
                    "set its flags",
                );
            }
        }
        Ok(())
    }

    fn resize(&self, number: i32, planner: &mut FdPlanner) {
        if self.capacity != DEFAULT_CAPACITY {
            let capacity = u64::from(self.capacity);
            planner.fcntl(number, libc::F_SETPIPE_SZ, capacity, "set the capacity");
        }
    }

    fn fill(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        for chunk in self.contents.chunks(CHUNK) {
            let number = planner.other_end(id)?;
            let args = [
                Arg::from(number),
                Arg::from(Data::new(chunk)),
                Arg::from(chunk.len() as u64),
            ];
            let what = format!("fd {number}: write {} bytes", chunk.len());
            let write = Call::new(what, libc::SYS_write, args);
            planner.call(write.must_return(chunk.len() as u64));
        }
        Ok(())
    }
}

/// The ends of each pipe by its device and inode, collected during the capture.
pub type Pipes = BTreeMap<(u64, u64), Vec<DescriptionId>>;

impl Kind for PipeEnd {
    type Source = OfFile;
}

impl FileKind for PipeEnd {
    fn matches(probe: &Probe) -> bool {
        probe.file_type() == libc::S_IFIFO && probe.flags & libc::O_PATH == 0
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        let inode = (probe.identity.dev, probe.identity.ino);
        cx.pipes.entry(inode).or_default().push(probe.id);
        Ok(())
    }

    fn resolve_refs(cx: &mut FileCapture) -> Result<()> {
        let mut pipes: Vec<_> = std::mem::take(&mut cx.pipes).into_values().collect();
        pipes.sort();
        let mut copier = None;
        for ends in pipes {
            settle_pipe(&ends, &mut copier, cx)?;
        }
        Ok(())
    }
}

/// An end of a pipe, and its description opened in crust too.
struct OpenEnd<'a> {
    probe: Rc<Probe<'a>>,
    file: OwnedFd,
}

fn settle_pipe(
    ends: &[DescriptionId],
    copier: &mut Option<Copier>,
    cx: &mut FileCapture,
) -> Result<()> {
    let mut opened = Vec::new();
    for end in ends {
        let probe = Rc::clone(&cx.probes[end.0 as usize]);
        let file = probe.take()?;
        opened.push(OpenEnd { probe, file });
    }
    let Some(first) = opened.first() else {
        return Ok(());
    };
    let probe = Rc::clone(&first.probe);
    let is_named = !probe.link.starts_with(b"pipe:");
    if is_named && !probe.is_reachable {
        return super::refused::refuse_unreachable(&probe, cx);
    }
    let is_packet = |end: &OpenEnd| end.probe.flags & libc::O_DIRECT != 0;
    if opened.iter().any(is_packet) {
        cx.refuse(
            &probe,
            "pipe-packets",
            "a pipe in packet mode (O_DIRECT): where one packet ends cannot be read",
            "have the program use a Unix socket of type SOCK_SEQPACKET instead",
        );
        return Ok(());
    }
    let bytes = fcntl::readable(first.file.as_fd())
        .map_err(|errno| probe.failed("FIONREAD of the pipe", errno))? as usize;
    let open_for = |mode: i32| {
        opened.iter().find(move |end| {
            let access = end.probe.flags & libc::O_ACCMODE;
            access == mode || access == libc::O_RDWR
        })
    };
    let (reader, writer) = (open_for(libc::O_RDONLY), open_for(libc::O_WRONLY));
    let mut awaits_writer = false;
    if reader.is_none() || writer.is_none() {
        let is_closed = is_other_end_closed(first)?;
        // The program at the other end of a FIFO finds it again by its name; but the contents would
        // then exist twice.
        awaits_writer = is_named && writer.is_none() && !is_closed;
        let is_found_again = is_named && bytes == 0;
        if !is_closed && !is_found_again {
            let (other, access, verb) = match reader {
                Some(_) => ("writing", libc::O_WRONLY, "writes to"),
                None => ("reading", libc::O_RDONLY, "reads from"),
            };
            cx.refuse(
                &probe,
                "pipe-outside",
                format!("a pipe whose {other} end is held by a program outside of the tree"),
                format!(
                    "dump a tree that contains the program that {verb} it, or start this one with \
                     a file there"
                ),
            );
            cx.refusals.held_by(Counterpart::Open {
                link: String::from_utf8_lossy(&probe.link).into_owned(),
                access: Some(access),
            });
            return Ok(());
        }
    }
    let capacity = fcntl::pipe_size(first.file.as_fd())
        .map_err(|errno| probe.failed("F_GETPIPE_SZ", errno))?;
    // If nobody can read the pipe, its contents are lost already.
    let contents = match reader {
        Some(reader) if bytes > 0 => Copier::of(copier, capacity)?.copy(reader, bytes)?,
        _ => Vec::new(),
    };
    let flags = opened.iter().map(|end| (end.probe.id, end.probe.flags));
    let pipe = Pipe {
        name: is_named.then(|| Named::new(&probe.link, &probe.identity)),
        ends: flags.collect(),
        capacity,
        contents,
        awaits_writer,
    };
    let mut place = Place::Here(pipe);
    for end in &opened {
        let open = end.probe.open_with_owner(&end.file)?;
        let pipe = std::mem::replace(&mut place, Place::With(probe.id));
        cx.keep(end.probe.id, PipeEnd { open, pipe })?;
    }
    Ok(())
}

/// Returns whether no process at all has the other end of this one.
fn is_other_end_closed(end: &OpenEnd) -> Result<bool> {
    let mut polled = [PollFd::new(end.file.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).map_err(|errno| end.probe.failed("poll", errno))?;
    // POLLHUP tells a reader that there is no writer, POLLERR tells a writer that there is no
    // reader.
    let answer = polled[0].revents().unwrap_or(PollFlags::empty());
    Ok(answer.intersects(PollFlags::POLLHUP | PollFlags::POLLERR))
}

/// A pipe of our own into which those of the program are copied. It is empty between two copies.
struct Copier {
    capacity: u32,
    read: OwnedFd,
    write: OwnedFd,
}

impl Copier {
    /// Returns a copier of this capacity, reusing the existing one if it fits.
    fn of(known: &mut Option<Self>, capacity: u32) -> Result<&Self> {
        let new = match known.take() {
            Some(copier) if copier.capacity == capacity => copier,
            _ => {
                let failed = |call: &'static str| move |errno| Error::system(call, errno);
                let (read, write) =
                    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(failed("make a pipe"))?;
                // Give it as many slots as the original: each write may take one.
                fcntl::set_pipe_size(write.as_fd(), capacity)
                    .map_err(failed("F_SETPIPE_SZ of a pipe of crust"))?;
                Self {
                    capacity,
                    read,
                    write,
                }
            }
        };
        Ok(known.insert(new))
    }

    /// Copies the contents of a pipe, and leaves them in place.
    fn copy(&self, reader: &OpenEnd, bytes: usize) -> Result<Vec<u8>> {
        let failed = |call: &str, errno| reader.probe.failed(call, errno);
        let copied = splice::tee(reader.file.as_fd(), self.write.as_fd(), bytes)
            .map_err(|errno| failed("tee of the pipe", errno))?;
        let mut contents = vec![0; copied];
        let mut length = 0;
        while length < copied {
            match nix::unistd::read(&self.read, &mut contents[length..]) {
                Ok(0) => break,
                Ok(got) => length += got,
                Err(errno) => return Err(failed("read of the copied pipe", errno)),
            }
        }
        if length == bytes {
            Ok(contents)
        } else {
            Err(reader.probe.malformed(format!(
                "{bytes} bytes are in the pipe, but {length} could be copied"
            )))
        }
    }
}
