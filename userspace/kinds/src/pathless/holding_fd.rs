// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The descriptors that hold the pathless files of an image while it is restored: each at a number that no descriptor
//! of the image has, in the process that creates it, from the beginning of `CreateFiles` until it is filled, mapped and
//! sealed. The numbers follow from the records alone.

use std::collections::BTreeMap;

use crust_model::image::Image;
use crust_model::object::Owner;
use crust_model::plan::{Arg, Call, Data, Plan, ProcessId, Stage};
use crust_model::{Error, Result};

use super::PathlessFile;
use crate::descriptor::table::Table;
use crate::kind::Kinds;

/// A pathless file and the descriptor that holds it.
pub struct HoldingFd<'i> {
    /// The process that creates the file.
    pub process: ProcessId,
    /// The pid of that process.
    pub pid: i32,
    /// The number of the descriptor in that process, which is open for reading and writing.
    pub number: i32,
    /// The file.
    pub file: &'i dyn PathlessFile,
}

/// The holding descriptors of all pathless files, by the number of the file in the image.
#[derive(Default)]
pub struct HoldingFds<'i>(BTreeMap<u32, HoldingFd<'i>>);

impl<'i> HoldingFds<'i> {
    /// Assigns the holding descriptors of an image. They take the numbers below `first_reserved`.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the records contradict each other.
    pub fn of(kinds: Kinds, image: &'i Image, first_reserved: i32) -> Result<Self> {
        let mut taken: BTreeMap<ProcessId, i32> = BTreeMap::new();
        let mut files: BTreeMap<u32, (Owner, &dyn PathlessFile)> = BTreeMap::new();
        for (owner, file) in super::all(kinds, image) {
            let twice = files.insert(file.pathless().id, (owner, file));
            if let Some((_, file)) = twice {
                return Err(Error::malformed(file.title(), "is there twice"));
            }
        }
        if files.is_empty() {
            return Ok(Self::default());
        }
        let owners = owners_of(image)?;
        let mut holding_fds = BTreeMap::new();
        for (id, (owner, file)) in files {
            let malformed = |problem| Error::malformed(file.title(), problem);
            let (process, pid) = *owners
                .get(&owner.process())
                .ok_or_else(|| malformed("the process that makes it has no descriptors"))?;
            let taken = taken.entry(process).or_default();
            *taken += 1;
            let holding_fd = HoldingFd {
                process,
                pid,
                number: first_reserved - *taken,
                file,
            };
            holding_fds.insert(id, holding_fd);
        }
        Ok(Self(holding_fds))
    }

    /// Returns how many descriptor numbers they take in a process at most.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the records contradict each other.
    pub fn count(kinds: Kinds, image: &'i Image) -> Result<i32> {
        let lowest = Self::of(kinds, image, 0)?.0.into_values();
        Ok(lowest
            .map(|holding_fd| -holding_fd.number)
            .max()
            .unwrap_or(0))
    }

    /// Returns all holding descriptors.
    pub fn all(&self) -> impl Iterator<Item = &HoldingFd<'i>> {
        self.0.values()
    }

    /// Returns the holding descriptor of a file.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if the image does not have it.
    pub fn get(&self, id: u32) -> Result<&HoldingFd<'i>> {
        self.0.get(&id).ok_or_else(|| {
            Error::malformed(
                format!("file {id} without a path"),
                "the image does not have it",
            )
        })
    }

    /// Plans the creation of all files, in descriptor tables that are still empty.
    pub fn make(&self, plan: &mut Plan) {
        for holding_fd in self.all() {
            let mut call = |call| plan.call(Stage::CreateFiles, holding_fd.process.leader(), call);
            let (title, number) = (holding_fd.file.title(), holding_fd.number);
            let made = call(holding_fd.file.make());
            call(Call::new(
                format!("{title}: move it to fd {number}"),
                libc::SYS_dup3,
                [made.into(), number.into(), libc::O_CLOEXEC.into()],
            ));
            call(Call::new(
                format!("{title}: close where it was"),
                libc::SYS_close,
                [made.into()],
            ));
            for equip in holding_fd.file.pathless().equip(&title, number) {
                call(equip);
            }
        }
    }
}

/// Returns for each process the process that fills its descriptor table, and the pid of that process: of those that
/// share a table, only one creates files.
fn owners_of(image: &Image) -> Result<BTreeMap<ProcessId, (ProcessId, i32)>> {
    let mut owners = BTreeMap::new();
    for (process, table) in image.all::<Table>() {
        let process = process.process();
        let owner = table.shares.unwrap_or(process);
        let table = image
            .get::<Table>(owner)
            .ok_or_else(|| Error::malformed(format!("process {owner}"), "no descriptor table"))?;
        owners.insert(process, (owner, table.pid));
    }
    Ok(owners)
}

impl HoldingFd<'_> {
    /// Returns the path below `/proc` by which a process reaches the file.
    fn path(&self, from: ProcessId) -> Data {
        Data::string(if from == self.process {
            format!("self/fd/{}", self.number)
        } else {
            format!("{}/fd/{}", self.pid, self.number)
        })
    }

    /// Returns the call by which a process reopens the file; `proc` is a descriptor of `/proc`.
    #[must_use]
    pub fn open(&self, from: ProcessId, proc: i32, flags: i32) -> Call {
        Call::new(
            format!("open {}", self.file.title()),
            libc::SYS_openat,
            [
                proc.into(),
                self.path(from).into(),
                // Drop the flags that concern what the path leads to.
                (flags & !(libc::O_TMPFILE | libc::O_NOFOLLOW | libc::O_ASYNC)).into(),
                0.into(),
            ],
        )
    }

    /// Returns the call that opens a pidfd of the process that holds the file.
    #[must_use]
    pub fn open_maker(&self) -> Call {
        let title = self.file.title();
        Call::new(
            format!("pidfd_open of {}, which has {title}", self.process),
            libc::SYS_pidfd_open,
            [self.pid.into(), 0.into()],
        )
    }

    /// Returns the call by which another process takes the open file description itself; `pidfd` refers to the process
    /// that holds it.
    #[must_use]
    pub fn take(&self, pidfd: Arg) -> Call {
        Call::new(
            format!("take {}", self.file.title()),
            libc::SYS_pidfd_getfd,
            [pidfd, self.number.into(), 0.into()],
        )
    }

    /// Returns the calls that complete the file when it is filled and mapped, and close the descriptor.
    pub fn finish(&self) -> impl Iterator<Item = Call> {
        let (title, number) = (self.file.title(), self.number);
        let close = Call::new(
            format!("{title}: close fd {number}"),
            libc::SYS_close,
            [number.into()],
        );
        std::iter::once(self.file.pathless().set_times(&title, number))
            .chain(self.file.finish(number))
            .chain(std::iter::once(close))
    }
}

#[cfg(test)]
mod tests {
    use crust_image::Record;
    use crust_model::object::State;
    use crust_model::refusal::Refusals;

    use super::*;
    use crate::pathless::memfd::Memfd;
    use crate::registry::KINDS;

    fn memfd(id: u32, owner: u32) -> Record {
        let mut memfd = Memfd::default();
        memfd.pathless.id = id;
        memfd.record((owner, id)).unwrap()
    }

    fn table(owner: u32) -> Record {
        let table = Table {
            pid: 100 + owner as i32,
            ..Table::default()
        };
        table.record((owner, 0)).unwrap()
    }

    fn image(records: &[Record]) -> Result<Image> {
        KINDS.decode(records, &mut Refusals::default())
    }

    fn count(records: &[Record]) -> Result<i32> {
        HoldingFds::count(KINDS, &image(records)?)
    }

    #[test]
    fn each_process_counts_down_from_the_reserved_numbers() {
        let records = [
            table(0),
            table(1),
            memfd(0, 0),
            memfd(1, 1),
            memfd(2, 1),
            memfd(3, 0),
        ];
        assert_eq!(count(&records).unwrap(), 2);
        let image = image(&records).unwrap();
        let holding_fds = HoldingFds::of(KINDS, &image, 50).unwrap();
        let places: Vec<_> = holding_fds
            .all()
            .map(|holding_fd| (holding_fd.pid, holding_fd.number))
            .collect();
        assert_eq!(places, [(100, 49), (101, 49), (101, 48), (100, 48)]);
        assert!(holding_fds.get(4).is_err());
    }

    /// The second process shares the table of the first, which creates the files of both.
    #[test]
    fn those_who_share_a_table_count_together() {
        let shared = Table {
            pid: 101,
            shares: Some(ProcessId(0)),
            ..Table::default()
        };
        let shared = shared.record((1, 0)).unwrap();
        let records = [table(0), shared, memfd(0, 0), memfd(1, 1)];
        let image = image(&records).unwrap();
        let holding_fds = HoldingFds::of(KINDS, &image, 50).unwrap();
        let places: Vec<_> = holding_fds
            .all()
            .map(|holding_fd| (holding_fd.process, holding_fd.pid, holding_fd.number))
            .collect();
        assert_eq!(places, [(ProcessId(0), 100, 49), (ProcessId(0), 100, 48)]);
        assert!(count(&records[1..]).is_err());
    }

    #[test]
    fn records_that_contradict_each_other_are_an_error() {
        assert!(count(&[memfd(0, 0)]).is_err());
        assert!(count(&[table(0), memfd(0, 0), memfd(0, 0)]).is_err());
        assert!(count(&[table(0), table(1), memfd(0, 0), memfd(0, 1)]).is_err());
        assert_eq!(count(&[table(0)]).unwrap(), 0);
    }
}
