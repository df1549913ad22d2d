// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Files that no path leads to: memfds, and files that were deleted while somebody had them.
//!
//! Such a file lives as long as a descriptor or a mapping of it, or a program that runs from it, and
//! an image has to hold what is in it. There is one record for each inode, whatever is made of it:
//! descriptions ([`file::pathless`](crate::file::pathless)), mappings
//! ([`file_backed`](crate::memory::file_backed)) and programs
//! ([`program`](crate::memory::program)) name it by its number in the image. [`capture`] gathers them
//! while a tree is captured.
//!
//! A restore makes it in the first process that has it, before all other files, at a number of its
//! own, its [`holding_fd`]; whoever needs it opens it there. It is filled like memory.
//!
//! A new kind is one file and one line in [`KINDS`].

pub mod attributes;
pub mod capture;
pub mod data;
pub mod ghost;
pub mod holding_fd;
pub mod memfd;
pub mod outside;

use crust_image::Record;
use crust_model::Result;
use crust_model::object::{Extent, Row, State};
use crust_model::plan::{Arg, Call, Data};
use crust_model::refusal::Refusals;
use nix::sys::stat::FileStat;
use serde::{Deserialize, Serialize};

use self::attributes::Attribute;
use self::capture::Seen;
pub use self::capture::{PathlessFiles, Unreachable};
pub use self::holding_fd::{HoldingFd, HoldingFds};
use crate::capture::DumpOptions;
use crate::contents::Runs;

/// What is in an object, and where the image has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// How many bytes it has.
    pub size: u64,
    /// The size of its huge pages, as a power of two; 0 if its pages are not huge.
    #[serde(deserialize_with = "crate::contents::huge_shift")]
    pub huge: u8,
    /// Where in the image the first page is.
    pub offset: u64,
    /// Where in the object the pages belong.
    pub runs: Runs,
}

impl Contents {
    /// Where it begins in the image, and how many bytes it has there.
    #[must_use]
    pub fn extent(&self) -> Extent {
        Extent {
            offset: self.offset,
            bytes: self.runs.bytes(),
        }
    }

    /// `40 KiB of 1024 KiB at 0x1000`
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

/// What every pathless file has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pathless {
    /// Its number in the image, by which others refer to it.
    pub id: u32,
    /// What is in it.
    pub contents: Contents,
    /// Its permissions.
    pub mode: u32,
    /// The user that owns it.
    pub uid: u32,
    /// The group that owns it.
    pub gid: u32,
    /// When it was read last, and modified: seconds and nanoseconds of the wall clock.
    pub times: [i64; 4],
    /// Its extended attributes.
    pub attributes: Vec<Attribute>,
    /// It is mapped privately, so it must be complete before anybody gets pages of it.
    pub is_private: bool,
    /// A process runs it, so nobody may have it open for writing.
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

    /// The calls that give it owner, mode, attributes and size, by the descriptor `number`.
    fn equip(&self, name: &str, number: i32) -> Vec<Call> {
        let call = |what: &str, nr, argument: Vec<Arg>| {
            let mut args = vec![Arg::from(number)];
            args.extend(argument);
            Call::new(format!("{name}: {what}"), nr, args)
        };
        let owner = vec![u64::from(self.uid).into(), u64::from(self.gid).into()];
        let mode = vec![u64::from(self.mode).into()];
        let size = vec![self.contents.size.into()];
        // Changes of owner and size take capabilities and bits of the mode away; a list sets some of these.
        let mut calls = vec![
            call("set the owner", libc::SYS_fchown, owner),
            call("set the size", libc::SYS_ftruncate, size),
        ];
        calls.extend(attributes::set(name, number, &self.attributes));
        calls.push(call("set the mode", libc::SYS_fchmod, mode));
        calls
    }

    /// The call that sets its times.
    fn set_times(&self, name: &str, number: i32) -> Call {
        let times = self.times.map(|time| time as u64);
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

/// A captured pathless file, whatever its kind is.
pub trait PathlessFile {
    /// What it has as all others.
    fn pathless(&self) -> &Pathless;
    /// The same, while it is captured.
    fn pathless_mut(&mut self) -> &mut Pathless;
    /// How it is called to people.
    fn title(&self) -> String;
    /// The call that makes it, empty, and returns a descriptor for reading and writing.
    fn make(&self) -> Call;
    /// The calls that come when it is filled and mapped, by the descriptor `number`.
    fn finish(&self, _number: i32) -> Vec<Call> {
        Vec::new()
    }
    /// Whether the first description for reading and writing is the very one that
    /// [`make`](Self::make) returns; opening the file again counts as a writer to it.
    fn is_open_when_made(&self) -> bool {
        false
    }
    /// Whether nobody can change it any more.
    fn is_constant(&self) -> bool {
        false
    }
    /// Notes what on this machine stands against making it.
    fn conflicts(&self, _refusals: &mut Refusals) {}
    /// Its record.
    fn to_record(&self, owner: u32) -> Result<Record>;
}

/// A kind of pathless file.
pub trait PathlessKind: State + PathlessFile + 'static {
    /// Whether such files are in the mounts that the kernel has for itself.
    const IS_OF_KERNEL: bool;

    /// Whether a file is of this kind. The kinds are asked in the order of the table.
    fn matches(seen: &Seen) -> bool;
    /// Its state, or why it cannot be had.
    fn capture(
        seen: &Seen,
        pathless: Pathless,
        options: &DumpOptions,
    ) -> Result<std::result::Result<Self, Unreachable>>;
}

type Captured = std::result::Result<Box<dyn PathlessFile>, Unreachable>;

/// A kind without its type.
struct Kind {
    row: Row,
    is_of_kernel: bool,
    matches: fn(&Seen) -> bool,
    capture: fn(&Seen, Pathless, &DumpOptions) -> Result<Captured>,
    load: fn(&Record) -> Result<Box<dyn PathlessFile>>,
}

impl Kind {
    const fn of<K: PathlessKind>() -> Self {
        Self {
            row: Row::of::<K>(),
            is_of_kernel: K::IS_OF_KERNEL,
            matches: K::matches,
            capture: |seen, pathless, options| {
                Ok(match K::capture(seen, pathless, options)? {
                    Ok(file) => Ok(Box::new(file)),
                    Err(why) => Err(why),
                })
            },
            load: |record| Ok(Box::new(K::from_record(record)?)),
        }
    }
}

/// The table.
static KINDS: &[Kind] = &[Kind::of::<memfd::Memfd>(), Kind::of::<ghost::Ghost>()];

/// The rows of all records of this family.
pub fn rows() -> impl Iterator<Item = Row> {
    KINDS.iter().map(|kind| kind.row)
}

/// The pathless file in a record; `None` if the record is of something else.
fn load(record: &Record) -> Result<Option<Box<dyn PathlessFile>>> {
    KINDS
        .iter()
        .find(|kind| kind.row.tag == record.tag)
        .map(|kind| (kind.load)(record))
        .transpose()
}

/// Notes what stands against making the pathless files of an image.
///
/// # Errors
///
/// If a record cannot be decoded.
pub fn conflicts(records: &[Record], refusals: &mut Refusals) -> Result<()> {
    for record in records {
        if let Some(file) = load(record)? {
            file.conflicts(refusals);
        }
    }
    Ok(())
}
