// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Open files: what the descriptors of a tree refer to.
//!
//! Three things must be kept apart. A *descriptor* is a number in a table. A [`table`] belongs to one process, or to
//! several. An *open file description* ([`DescriptionId`]) is what the number refers to: `dup`, `fork` and a message
//! over a Unix socket make more descriptors of it, which all share its offset and flags. [`collect`] finds the
//! descriptions of a tree, and each is captured by its [`FileKind`]. [`fd_plan`] makes each of them again once, in the
//! first process that has it and at its number there; the other processes then take it from there.
//!
//! A new kind is one file and one line in [`KINDS`].

pub mod by_path;
pub mod collect;
pub mod device;
pub mod directory;
pub mod epoll;
pub mod eventfd;
pub mod fd_plan;
pub mod inotify;
pub mod pathless;
pub mod pidfd;
pub mod pipe;
pub mod probe;
pub mod procfile;
pub mod pty;
pub mod refused;
pub mod regular;
pub mod signalfd;
pub mod terminal;
pub mod timerfd;
pub mod unix;
pub mod unix_peer;
pub mod uring;

use crust_image::Record;
use crust_model::Result;
use crust_model::object::{Row, State};
use crust_model::refusal::Refusals;
use crust_sys::fcntl;
use serde::{Deserialize, Serialize};

use self::by_path::ByPath;
use self::collect::FileCapture;
use self::fd_plan::FdPlanner;
use self::probe::Probe;
use crate::capture::Capture;
pub use crate::descriptor::DescriptionId;
use crate::descriptor::lock::Lock;
use crate::descriptor::table;
use crate::plan_context::PlanCx;

/// The state that every open file description has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The access mode and status flags (`F_GETFL`), and `O_PATH`, `O_DIRECTORY`, `O_NOFOLLOW`.
    pub flags: i32,
    /// The recipient of its signals, if any.
    pub owner: Option<SignalOwner>,
    /// The locks that belong to the description (`flock`, `F_OFD_SETLK`).
    pub locks: Vec<Lock>,
}

/// The recipient of the signals of a description, and which signal is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalOwner {
    /// The recipient, as set by `F_SETOWN_EX`.
    pub owner: fcntl::Owner,
    /// The signal, as set by `F_SETSIG`.
    pub signal: i32,
}

impl Open {
    /// Describes the access mode, and the other flags that are set.
    fn describe(&self) -> String {
        let mut text = String::from(match self.flags & libc::O_ACCMODE {
            _ if self.flags & libc::O_PATH != 0 => "path only",
            libc::O_RDONLY => "read",
            libc::O_WRONLY => "write",
            _ => "read and write",
        });
        for (flag, name) in [
            (libc::O_APPEND, "append"),
            (libc::O_NONBLOCK, "nonblocking"),
            (libc::O_ASYNC, "async"),
            (libc::O_DIRECT, "direct"),
        ] {
            if self.flags & flag != 0 {
                text.push_str(", ");
                text.push_str(name);
            }
        }
        text
    }
}

/// A captured open file description: what a plan needs of it, whatever its kind.
pub trait File {
    /// Returns the state that every description has.
    fn open(&self) -> &Open;

    /// Returns the descriptions that must be at hand in the process that makes this one when it is
    /// [connected](Self::connect).
    fn needs(&self) -> Vec<DescriptionId> {
        Vec::new()
    }

    /// Returns the descriptions that are created together with this one, by the same calls.
    fn companions(&self) -> Vec<DescriptionId> {
        Vec::new()
    }

    /// Returns the pid of the process that must make the description for the kernel to remember the
    /// same maker.
    fn maker(&self) -> Option<i32> {
        None
    }

    /// Returns the first number above all that [connecting](Self::connect) uses in the table.
    fn first_above(&self) -> i32 {
        0
    }

    /// Emits the calls that make the description and its companions ([`Stage::CreateFiles`]).
    ///
    /// [`Stage::CreateFiles`]: crust_model::plan::Stage::CreateFiles
    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()>;

    /// Emits the calls that set up what depends on other descriptions ([`Stage::ConnectFiles`]).
    ///
    /// [`Stage::ConnectFiles`]: crust_model::plan::Stage::ConnectFiles
    fn connect(&self, _id: DescriptionId, _bench: &mut FdPlanner) -> Result<()> {
        Ok(())
    }

    /// Emits the calls that must come after all descriptions are connected.
    fn finish(&self, _id: DescriptionId, _bench: &mut FdPlanner) -> Result<()> {
        Ok(())
    }

    /// Notes what on this machine prevents making the description. Only queries the machine, and
    /// changes nothing.
    fn conflicts(&self, _refusals: &mut Refusals) {}
}

/// A kind of open file.
pub trait FileKind: State + File + 'static {
    /// Returns whether an open file description is of this kind.
    fn matches(probe: &Probe) -> bool;

    /// Captures the description: [keeps](FileCapture::keep) a state, notes why it cannot be carried over, or leaves it
    /// to [`resolve_refs`](Self::resolve_refs).
    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()>;

    /// Completes the capture once all descriptions are known, for kinds whose state names other
    /// descriptions.
    fn resolve_refs(_census: &mut FileCapture) -> Result<()> {
        Ok(())
    }
}

/// A kind of open file, without its type.
pub struct Kind {
    /// The name, tag and support text of the kind.
    pub row: Row,
    matches: fn(&Probe) -> bool,
    capture: for<'a> fn(&Probe<'a>, &mut FileCapture<'a>) -> Result<()>,
    resolve_refs: fn(&mut FileCapture) -> Result<()>,
    load: fn(&Record) -> Result<Box<dyn File>>,
}

impl Kind {
    const fn of<K: FileKind>() -> Self {
        Self {
            row: Row::of::<K>(),
            matches: K::matches,
            capture: K::capture,
            resolve_refs: K::resolve_refs,
            load: |record| Ok(Box::new(K::from_record(record)?)),
        }
    }
}

/// All kinds; the first that matches a description captures it.
pub static KINDS: &[Kind] = &[
    Kind::of::<ByPath<procfile::ProcFile>>(),
    Kind::of::<pathless::PathlessFile>(),
    Kind::of::<ByPath<regular::Regular>>(),
    Kind::of::<ByPath<directory::Directory>>(),
    Kind::of::<pipe::PipeEnd>(),
    Kind::of::<eventfd::Eventfd>(),
    Kind::of::<epoll::Epoll>(),
    Kind::of::<unix::UnixSocket>(),
    Kind::of::<timerfd::Timerfd>(),
    Kind::of::<signalfd::Signalfd>(),
    Kind::of::<inotify::Inotify>(),
    Kind::of::<pidfd::Pidfd>(),
    Kind::of::<uring::Uring>(),
    Kind::of::<ByPath<device::Device>>(),
    Kind::of::<pty::Master>(),
    Kind::of::<pty::slave::Slave>(),
    Kind::of::<terminal::Terminal>(),
];

/// Returns the rows of all records of this family.
pub fn rows() -> impl Iterator<Item = Row> {
    std::iter::once(Row::of::<table::Table>()).chain(KINDS.iter().map(|kind| kind.row))
}

/// Captures the descriptor tables of the whole tree, and everything that is open there.
pub fn capture(capture: &mut Capture) -> Result<()> {
    collect::take(capture)
}

/// Emits the steps that make the descriptor tables and open files again.
pub fn plan(cx: &mut PlanCx) -> Result<()> {
    fd_plan::plan(cx)?;
    pty::losses(cx)
}

/// Notes which files of an image are missing or differ now, before anything is made.
pub fn conflicts(records: &[Record], refusals: &mut Refusals) -> Result<()> {
    for record in records {
        if let Some(file) = load(record)? {
            file.conflicts(refusals);
        }
    }
    Ok(())
}

/// Returns the description in a record; `None` if the record is of something else.
fn load(record: &Record) -> Result<Option<Box<dyn File>>> {
    KINDS
        .iter()
        .find(|kind| kind.row.tag == record.tag)
        .map(|kind| (kind.load)(record))
        .transpose()
}
