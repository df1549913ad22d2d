// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Files that no path leads to: memfds, and files that were deleted while in use.
//!
//! Such a file lives as long as a file descriptor, a mapping, or a program that runs from it, and an image has to hold
//! its contents. There is one record per inode, no matter how it is used: open file descriptions
//! ([`file::pathless`](crate::file::pathless)), mappings ([`file_backed`](crate::memory::file_backed)) and programs
//! ([`program`](crate::memory::program)) refer to it by its number in the image. [`capture`] gathers these files while
//! a tree is captured.
//!
//! A restore creates it in the first process that has it, before all other files, at a descriptor number of its own,
//! its [`holding_fd`]; every process that needs the file opens it there. It is filled like memory.
//!
//! A new kind is one file and one line in the [table](crate::registry::KINDS).

pub mod attributes;
pub mod capture;
pub mod data;
pub mod ghost;
pub mod holding_fd;
pub mod memfd;
pub mod outside;

use crust_model::Result;
use crust_model::image::Image;
use crust_model::object::{Extent, Object, Owner};
use crust_model::plan::{Arg, Call, Data};
use crust_model::refusal::Refusals;
use crust_sys::word;
use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};

use self::attributes::Attribute;
use self::capture::Seen;
pub use self::capture::{PathlessFiles, Unreachable};
pub use self::holding_fd::{HoldingFd, HoldingFds};
use crate::capture::{Capture, DumpOptions};
use crate::conflicts::Conflicts;
use crate::contents::Runs;
use crate::kind::{Kind, Kinds, Role, Source};

/// The contents of an object, and where they are in the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// The size of the object in bytes.
    pub size: u64,
    /// The base-2 logarithm of the size of its huge pages; 0 if its pages are not huge.
    #[serde(deserialize_with = "crate::contents::huge_shift")]
    pub huge: u8,
    /// The offset of the first page in the image.
    pub offset: u64,
    /// The ranges of the object to which the pages belong.
    pub runs: Runs,
}

impl Contents {
    /// Returns the extent of the contents in the image.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent {
            offset: self.offset,
            bytes: self.runs.bytes(),
        }
    }

    /// Describes the contents, for example as `40 KiB of 1024 KiB at 0x1000`.
    #[must_use]
    pub fn describe(&self) -> String {
        let pages = match self.huge {
            0 => String::new(),
            huge => format!(" in pages of {} KiB", (1_u64 << huge) >> 10),
        };
        format!(
            "{} KiB of {} KiB{pages} at {:#x}",
            self.runs.bytes() >> 10,
            self.size.div_ceil(1024),
            self.offset
        )
    }
}

/// The state common to all pathless files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pathless {
    /// The number of the file in the image, by which other records refer to it.
    pub id: u32,
    /// The contents of the file.
    pub contents: Contents,
    /// The permissions of the file.
    pub mode: u32,
    /// The user that owns it.
    pub uid: u32,
    /// The group that owns it.
    pub gid: u32,
    /// The times of the last access and modification: seconds and nanoseconds of the wall clock.
    pub times: [i64; 4],
    /// The extended attributes of the file.
    pub attributes: Vec<Attribute>,
    /// Whether it is mapped privately, so that it must be complete before any process gets pages of it.
    pub is_private: bool,
    /// Whether a process executes it, so that nobody may have it open for writing.
    pub is_program: bool,
}

impl Pathless {
    fn of(id: u32, stat: &FileStat, contents: Contents, attributes: Vec<Attribute>) -> Self {
        Self {
            id,
            contents,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            times: [
                stat.st_atime,
                stat.st_atime_nsec,
                stat.st_mtime,
                stat.st_mtime_nsec,
            ],
            attributes,
            is_private: false,
            is_program: false,
        }
    }

    /// Returns the calls that set owner, mode, attributes and size through the descriptor `number`.
    fn equip(&self, name: &str, number: i32) -> Vec<Call> {
        let call = |what: &str, nr, argument: Vec<Arg>| {
            let mut args = vec![Arg::from(number)];
            args.extend(argument);
            Call::new(format!("{name}: {what}"), nr, args)
        };
        let owner = vec![u64::from(self.uid).into(), u64::from(self.gid).into()];
        let mode = vec![u64::from(self.mode).into()];
        let size = vec![self.contents.size.into()];
        // Changing the owner or size clears capabilities and mode bits; an access control list sets some mode bits.
        let mut calls = vec![
            call("set the owner", libc::SYS_fchown, owner),
            call("set the size", libc::SYS_ftruncate, size),
        ];
        calls.extend(attributes::set(name, number, &self.attributes));
        calls.push(call("set the mode", libc::SYS_fchmod, mode));
        calls
    }

    /// Returns the call that sets the times of the file.
    fn set_times(&self, name: &str, number: i32) -> Call {
        let times = self.times.map(word::from_long);
        Call::new(
            format!("{name}: set the times"),
            libc::SYS_utimensat,
            [
                number.into(),
                0.into(),
                Data::words(&times).into(),
                0.into(),
            ],
        )
    }
}

/// A captured pathless file of any kind.
pub trait PathlessFile {
    /// Returns the state common to all pathless files.
    fn pathless(&self) -> &Pathless;
    /// Returns the same state mutably, for use while the file is captured.
    fn pathless_mut(&mut self) -> &mut Pathless;
    /// Returns the name of the file in messages.
    fn title(&self) -> String;
    /// Returns the call that creates the file, empty, and returns a descriptor for reading and writing.
    fn make(&self) -> Call;
    /// Returns the calls to make through the descriptor `number` when the file is filled and mapped.
    fn finish(&self, _number: i32) -> Vec<Call> {
        Vec::new()
    }
    /// Returns whether the first open file description for reading and writing is the very one that
    /// [`make`](Self::make) returns; opening the file again counts as a writer to it.
    fn is_open_when_made(&self) -> bool {
        false
    }
    /// Returns whether the file can no longer be changed by anyone.
    fn is_constant(&self) -> bool {
        false
    }
    /// Notes what on this machine prevents making the file: see [`Kind::conflicts`].
    fn check(&self, refusals: &mut Refusals);
    /// Returns the file as an object of the image.
    fn into_object(self: Box<Self>) -> Box<dyn Object>;
}

/// A kind of pathless file.
pub trait PathlessKind: Kind + PathlessFile {
    /// Whether such files are in the kernel's internal mounts.
    const IS_OF_KERNEL: bool;

    /// Returns whether a file is of this kind. The kinds are tried in the order of the table.
    fn matches(seen: &Seen) -> bool;
    /// Captures the state of the file, or says why that is not possible.
    fn capture(
        seen: &Seen,
        pathless: Pathless,
        options: &DumpOptions,
    ) -> Result<std::result::Result<Self, Unreachable>>;
}

type Captured = std::result::Result<Box<dyn PathlessFile>, Unreachable>;

/// The source of the kinds of pathless files.
#[derive(Clone, Copy, Debug)]
pub struct OfPathless;

/// How the pathless files of a kind are captured and planned.
struct PathlessRole {
    is_of_kernel: bool,
    matches: fn(&Seen) -> bool,
    capture: fn(&Seen, Pathless, &DumpOptions) -> Result<Captured>,
    view: fn(&dyn Object) -> Option<&dyn PathlessFile>,
}

impl<K: PathlessKind> Source<K> for OfPathless {
    const ROLE: Role = &PathlessRole {
        is_of_kernel: K::IS_OF_KERNEL,
        matches: K::matches,
        capture: |seen, pathless, options| {
            Ok(match K::capture(seen, pathless, options)? {
                Ok(file) => Ok(Box::new(file)),
                Err(why) => Err(why),
            })
        },
        view: |object| Some(object.as_any().downcast_ref::<K>()?),
    };

    /// Refuses the files that programs outside of the tree have too, and has the contents of all others copied: those of
    /// all kinds at once.
    fn finish(_: Kinds, cx: &mut Capture<'_>) -> Result<()> {
        let files = cx.notes.take::<PathlessFiles>();
        files.settle(cx.tree, &mut cx.refusals);
        cx.jobs.extend(files.into_taken());
        Ok(())
    }

    fn conflicts(_: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        cx.each(K::check);
        Ok(())
    }
}

/// Returns the pathless files of an image, each with the process that makes it.
fn all(kinds: Kinds, image: &Image) -> impl Iterator<Item = (Owner, &dyn PathlessFile)> {
    kinds
        .of_role::<PathlessRole>()
        .flat_map(move |(tag, role)| image.of_tag(tag).map(move |found| (role, found)))
        .filter_map(|(role, (owner, object))| Some((owner, (role.view)(object)?)))
}
