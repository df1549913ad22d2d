// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finds all descriptor tables and open file descriptions of a tree, each once.
//!
//! `kcmp` compares two descriptions, and its answer is an order. So descriptions that could be the
//! same (same file, same flags) are kept sorted, and each further descriptor is looked up by
//! bisection. A description that resembles no other is never compared at all.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;

use crust_hooks::Hooks;
use crust_model::image::Image;
use crust_model::plan::ProcessId;
use crust_model::refusal::Refusals;
use crust_model::{Error, Result, index};
use crust_sys::{kcmp, pidfd};
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::parallel;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::epoll::Watching;
use super::pathless::PathlessDescriptions;
use super::pipe::Pipes;
use super::probe::{Holder, Probe};
use super::unix::Sockets;
use super::{DescriptionId, FileKind, FileRole, refused};
use crate::bisect::bisect;
use crate::capture::{Capture, DumpOptions};
use crate::descriptor::table::{PosixLock, Slot, Table};
use crate::kind::Kinds;
use crate::notes::Notes;

/// The means to inspect descriptors in our own table, which is where descriptors in flight end up.
struct Ourselves {
    pid: i32,
    proc: OwnedFd,
    pidfd: OwnedFd,
}

impl Ourselves {
    fn new() -> Result<Self> {
        let pid = nix::unistd::getpid().as_raw();
        let flags = OFlag::O_DIRECTORY | OFlag::O_PATH | OFlag::O_CLOEXEC;
        Ok(Self {
            pid,
            proc: open("/proc/self", flags, Mode::empty())
                .map_err(|errno| Error::system("open /proc/self", errno))?,
            pidfd: pidfd::open(pid).map_err(|errno| Error::system("pidfd_open of crust", errno))?,
        })
    }
}

/// The properties that all descriptors of one description share: device, inode number and flags.
type Likeness = (u64, u64, i32);

/// A capture of open files in progress.
pub struct FileCapture<'a> {
    /// The table of kinds.
    pub kinds: Kinds,
    /// The frozen processes of the tree.
    pub tree: &'a [FrozenProcess],
    /// The hooks through which the kernel is queried.
    pub hooks: &'a dyn Hooks,
    /// The options chosen by the user.
    pub options: &'a DumpOptions,
    /// The objects that cannot be carried over.
    pub refusals: &'a mut Refusals,
    /// Every description, as seen through its first descriptor; the index is the [`DescriptionId`].
    pub probes: Vec<Rc<Probe<'a>>>,
    /// The pipes, collected from their ends.
    pub pipes: Pipes,
    /// The Unix sockets, which name their peers by inode.
    pub sockets: Sockets,
    /// The epoll instances, which name their targets.
    pub watching: Vec<Watching>,
    /// The notes that kinds keep for themselves.
    pub notes: &'a mut Notes,
    /// The descriptions of files without a path.
    pub of_pathless: PathlessDescriptions,
    slots: HashMap<(ProcessId, i32), DescriptionId>,
    alike: HashMap<Likeness, Vec<DescriptionId>>,
    ourselves: &'a Ourselves,
    in_flight: Vec<OwnedFd>,
    /// The objects captured so far.
    pub image: &'a mut Image,
}

/// Captures the files of the whole tree.
pub(super) fn take(kinds: Kinds, capture: &mut Capture) -> Result<()> {
    let ourselves = Ourselves::new()?;
    let mut cx = FileCapture {
        kinds,
        tree: capture.tree,
        hooks: capture.hooks,
        options: capture.options,
        refusals: &mut capture.refusals,
        probes: Vec::new(),
        pipes: Pipes::default(),
        sockets: Sockets::default(),
        watching: Vec::new(),
        notes: &mut capture.notes,
        of_pathless: PathlessDescriptions::new(),
        slots: HashMap::new(),
        alike: HashMap::new(),
        ourselves: &ourselves,
        in_flight: Vec::new(),
        image: &mut capture.image,
    };
    cx.read_tables()?;
    // Messages in flight add descriptions while their sockets are captured.
    let mut next = 0;
    while let Some(probe) = cx.probes.get(next) {
        let probe = Rc::clone(probe);
        cx.capture(&probe)?;
        next += 1;
    }
    for (_, role) in kinds.of_role::<FileRole>() {
        (role.resolve_refs)(&mut cx)?;
    }
    Ok(())
}

impl<'a> FileCapture<'a> {
    fn read_tables(&mut self) -> Result<()> {
        let tree = self.tree;
        let mut descriptors = Vec::new();
        for process in tree {
            if let Some(leader) = process.leader() {
                let holder = Holder {
                    process: process.id,
                    pid: process.pid,
                    tid: leader.tid,
                    is_crust: false,
                    proc: process.proc.as_fd(),
                    pidfd: process.pidfd.as_fd(),
                };
                descriptors.extend(numbers(process)?.into_iter().map(|number| (holder, number)));
            }
        }
        let probes = parallel::map(&descriptors, 64, |&(holder, number)| {
            Probe::new(holder, number, format!("fd {number}"))
        });
        let mut probes = descriptors.into_iter().zip(probes).peekable();
        // The processes whose tables were read, in the order that kcmp gives.
        let mut read: Vec<(i32, ProcessId)> = Vec::new();
        for process in tree {
            let Some(leader) = process.leader() else {
                continue;
            };
            self.refuse_private_tables(process)?;
            let compare = |a, b| {
                kcmp::tasks(a, b, kcmp::Kind::Files)
                    .map_err(|errno| Error::task(b, "kcmp of the descriptor tables", errno))
            };
            let of_process = std::iter::from_fn(|| {
                probes
                    .next_if(|((holder, _), _)| holder.process == process.id)
                    .map(|(_, probe)| probe)
            });
            let table = match bisect(&read, |&(tid, _)| compare(tid, leader.tid))? {
                Ok(found) => {
                    let other = read[found].1;
                    of_process.for_each(drop);
                    // `task::sharing` decides whether the sharing can be restored.
                    Table {
                        pid: process.pid,
                        shares: Some(other),
                        ..Table::default()
                    }
                }
                Err(place) => {
                    read.insert(place, (leader.tid, process.id));
                    self.read_table(process, of_process)?
                }
            };
            self.image.add(process.id, table)?;
        }
        Ok(())
    }

    /// Refuses threads that have left the descriptor table of their process with
    /// `unshare(CLONE_FILES)`.
    fn refuse_private_tables(&mut self, process: &FrozenProcess) -> Result<()> {
        let Some((leader, others)) = process.threads.split_first() else {
            return Ok(());
        };
        for thread in others {
            let order = kcmp::tasks(leader.tid, thread.tid, kcmp::Kind::Files)
                .map_err(|errno| Error::task(thread.tid, "kcmp of the descriptor tables", errno))?;
            if order.is_ne() {
                self.refusals.block(
                    thread.tid,
                    "thread-descriptor-table",
                    "descriptor table",
                    "the thread has one of its own (unshare(CLONE_FILES)), which is not carried over yet",
                    "run the program without such threads, or dump it when they have ended",
                );
            }
        }
        Ok(())
    }

    fn read_table(
        &mut self,
        process: &FrozenProcess,
        probes: impl Iterator<Item = Result<Probe<'a>>>,
    ) -> Result<Table> {
        let mut table = Table {
            pid: process.pid,
            ..Table::default()
        };
        for probe in probes {
            let probe = probe?;
            let number = probe.number;
            for lock in probe.locks().filter(|lock| !lock.is_of_description()) {
                let lock = PosixLock {
                    file: (probe.identity.dev, probe.identity.ino),
                    number,
                    lock,
                };
                // Every descriptor of the file shows the lock; keep one whose access mode allows
                // setting it.
                let is_known = table
                    .locks
                    .iter()
                    .any(|known| (known.file, known.lock) == (lock.file, lock.lock));
                if !is_known && lock.lock.is_allowed(probe.flags) {
                    table.locks.push(lock);
                }
            }
            let cloexec = probe.cloexec;
            let description = self.identify(probe)?;
            self.slots.insert((process.id, number), description);
            table.slots.push(Slot {
                number,
                cloexec,
                description,
            });
        }
        Ok(table)
    }

    /// Finds the description of a descriptor among the known ones, or adds a new one.
    fn identify(&mut self, mut probe: Probe<'a>) -> Result<DescriptionId> {
        let likeness = (probe.identity.dev, probe.identity.ino, probe.flags);
        let probes = &self.probes;
        let alike = self.alike.entry(likeness).or_default();
        let compare = |known: &DescriptionId| {
            let known = probes[known.0 as usize].descriptor();
            kcmp::files(known, probe.descriptor()).map_err(|errno| probe.failed("kcmp", errno))
        };
        match bisect(alike, compare)? {
            Ok(found) => Ok(alike[found]),
            Err(place) => {
                let id = DescriptionId(index::number(probes.len()));
                alike.insert(place, id);
                probe.id = id;
                self.probes.push(Rc::new(probe));
                Ok(id)
            }
        }
    }

    /// Adds a descriptor carried by a message, which `recvmsg` has put into our table.
    pub fn identify_in_flight(
        &mut self,
        socket: &Probe<'a>,
        descriptor: OwnedFd,
    ) -> Result<DescriptionId> {
        let ourselves = self.ourselves;
        let holder = Holder {
            process: socket.holder.process,
            pid: socket.holder.pid,
            tid: ourselves.pid,
            is_crust: true,
            proc: ourselves.proc.as_fd(),
            pidfd: ourselves.pidfd.as_fd(),
        };
        let object = format!("{}, a descriptor in flight", socket.object);
        let probe = Probe::new(holder, descriptor.as_raw_fd(), object)?;
        // The descriptor must stay open for as long as it is compared with others.
        self.in_flight.push(descriptor);
        self.identify(probe)
    }

    fn capture(&mut self, probe: &Probe<'a>) -> Result<()> {
        for line in probe.foreign_locks() {
            self.refuse(
                probe,
                "file-lock",
                format!("a lease or lock of a kind that is not carried over yet:{line}"),
                "have the program give it up before the dump",
            );
        }
        let mut roles = self.kinds.of_role::<FileRole>();
        match roles.find(|(_, role)| (role.matches)(probe)) {
            Some((_, role)) => (role.capture)(probe, self),
            None => refused::refuse(probe, self),
        }
    }

    /// Keeps the state of a description.
    ///
    /// # Errors
    ///
    /// If it has one already.
    pub fn keep<K: FileKind>(&mut self, id: DescriptionId, state: K) -> Result<()> {
        self.image.add((id.0, 0), state)
    }

    /// Notes that a description cannot be carried over.
    pub fn refuse(
        &mut self,
        probe: &Probe,
        code: &'static str,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.refusals
            .block(probe.holder.pid, code, probe.object.as_str(), why, remedy);
    }

    /// Notes that a description is carried over only in part.
    pub fn lose(
        &mut self,
        probe: &Probe,
        code: &'static str,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.refusals
            .lose(probe.holder.pid, code, probe.object.as_str(), why, remedy);
    }

    /// Returns whether the tree has a thread with this id.
    pub fn has_thread(&self, tid: i32) -> bool {
        let mut threads = self.tree.iter().flat_map(|process| &process.threads);
        threads.any(|thread| thread.tid == tid)
    }

    /// Returns the description that a process has at a descriptor number.
    pub fn occupant(&self, process: ProcessId, number: i32) -> Option<&Rc<Probe<'a>>> {
        let id = self.slots.get(&(process, number))?;
        self.probes.get(id.0 as usize)
    }

    /// Returns the descriptions that may refer to this file.
    pub fn of_file(&self, dev: u64, ino: u64) -> impl Iterator<Item = &Rc<Probe<'a>>> {
        self.probes
            .iter()
            .filter(move |probe| (probe.identity.dev, probe.identity.ino) == (dev, ino))
    }
}

/// Returns the numbers in the descriptor table of a process, in ascending order.
fn numbers(process: &FrozenProcess) -> Result<Vec<i32>> {
    let failed = |errno: Errno| Error::task(process.pid, "list /proc/PID/fd", errno);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut dir =
        nix::dir::Dir::openat(&process.proc, "fd", flags, Mode::empty()).map_err(failed)?;
    let mut numbers = Vec::new();
    for entry in dir.iter() {
        let entry = entry.map_err(failed)?;
        // All entries but `.` and `..` are numbers.
        let name = entry.file_name().to_str().ok();
        numbers.extend(name.and_then(|name| name.parse::<i32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bisection_finds_or_places() {
        let sorted = [1, 3, 5, 7];
        for wanted in 0..9 {
            let found = bisect(&sorted, |have| Ok(have.cmp(&wanted))).unwrap();
            assert_eq!(found, sorted.binary_search(&wanted), "{wanted}");
        }
    }
}
