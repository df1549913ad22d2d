// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Open files: what the descriptors of a tree refer to.
//!
//! Three things must be kept apart. A *descriptor* is a number in a table. A [table](crate::descriptor::table) belongs
//! to one process, or to several. An *open file description* ([`DescriptionId`]) is what the number refers to: `dup`,
//! `fork` and a message over a Unix socket make more descriptors of it, which all share its offset and flags.
//! [`collect`] finds the descriptions of a tree, and each is captured by its [`FileKind`]. [`fd_plan`] makes each of
//! them again once, in the first process that has it and at its number there; the other processes then take it from
//! there.
//!
//! A new kind is one file and one line in the [table](crate::registry::KINDS).

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

use std::collections::BTreeMap;

use crust_model::image::Image;
use crust_model::object::Object;
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};
use crust_sys::fcntl;
use serde::{Deserialize, Serialize};

use self::collect::FileCapture;
use self::fd_plan::FdPlanner;
use self::probe::Probe;
use crate::capture::Capture;
use crate::conflicts::Conflicts;
pub use crate::descriptor::DescriptionId;
use crate::descriptor::lock::Lock;
use crate::descriptor::table::Table;
use crate::kind::{Kind, Kinds, OfTree, Role, Source, TreeKind};
use crate::plan_context::PlanCx;

/// All open file descriptions of an image.
type Files<'i> = BTreeMap<DescriptionId, &'i dyn File>;

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

    /// Notes what on this machine prevents making the description: see [`Kind::conflicts`].
    fn check(&self, _refusals: &mut Refusals) {}
}

/// A kind of open file.
pub trait FileKind: Kind + File {
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

/// The source of the kinds of open files. The first in the table that matches a description captures it.
#[derive(Clone, Copy, Debug)]
pub struct OfFile;

/// How the open files of a kind are captured and planned.
struct FileRole {
    matches: fn(&Probe) -> bool,
    capture: for<'a> fn(&Probe<'a>, &mut FileCapture<'a>) -> Result<()>,
    resolve_refs: fn(&mut FileCapture) -> Result<()>,
    view: fn(&dyn Object) -> Option<&dyn File>,
}

impl<K: FileKind> Source<K> for OfFile {
    const ROLE: Role = &FileRole {
        matches: K::matches,
        capture: K::capture,
        resolve_refs: K::resolve_refs,
        view: |object| Some(object.as_any().downcast_ref::<K>()?),
    };

    fn conflicts(_: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        cx.each(K::check);
        Ok(())
    }
}

impl Kind for Table {
    type Source = OfTree;

    /// Captures the tables, and everything that is open: last, because what is mapped decides which process makes a
    /// file without a path, and whether a ring can be mapped again.
    fn finish(kinds: Kinds, cx: &mut Capture<'_>) -> Result<()> {
        collect::take(kinds, cx)
    }
}

/// It answers for all open files.
impl TreeKind for Table {
    fn plan(kinds: Kinds, cx: &mut PlanCx<'_>) -> Result<()> {
        fd_plan::plan(kinds, cx)?;
        pty::losses(cx)
    }
}

/// Returns all open file descriptions of an image.
///
/// # Errors
///
/// If two kinds claim a description.
fn all(kinds: Kinds, image: &Image) -> Result<Files<'_>> {
    let mut files = Files::new();
    for (tag, role) in kinds.of_role::<FileRole>() {
        for (owner, object) in image.of_tag(tag) {
            let id = DescriptionId(owner.number);
            let file = (role.view)(object);
            if files.insert(id, file.ok_or_else(|| missing(id))?).is_some() {
                return Err(Error::malformed(id.to_string(), "is there twice"));
            }
        }
    }
    Ok(files)
}

fn missing(id: DescriptionId) -> Error {
    Error::malformed(id.to_string(), "the image does not have it")
}
