// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Where descriptions are made again: who makes which, at which number, and how the others get it.
//!
//! Each description has a [`Home`]: the first process that has it, and its first number there. In
//! [`Stage::CreateFiles`] every process makes what is at home in it, by ascending numbers, so that
//! nearly every `open` lands where it belongs; its own duplicates follow. In [`Stage::ShareFiles`]
//! the other processes take their descriptors with `pidfd_getfd`. In [`Stage::ConnectFiles`]
//! descriptions are filled, and tied to each other.
//!
//! A description that no table has (it is in flight, or only the other end of a pipe) is at home in
//! *limbo*: at a number above all that the image uses, which is closed at the end of that stage.
//! Locks are set in [`Stage::Attributes`].

mod home;
mod numbers;

use std::collections::{BTreeMap, BTreeSet};

pub use home::Home;

use self::home::Homes;
use self::numbers::Numbers;
use super::table::{Slot, Table};
use super::{DescriptionId, File};
use crate::object::State;
use crate::plan::{Arg, Call, CallRef, Data, Expect, Plan, ProcessId, Stage, reserved};
use crate::resolve::Resolve;
use crate::{Error, Result};

/// All descriptions of an image.
pub(super) type Files = BTreeMap<DescriptionId, Box<dyn File>>;

/// The process at work, and what is in its table by now.
pub struct Bench<'p> {
    plan: &'p mut Plan,
    files: &'p Files,
    stage: Stage,
    process: ProcessId,
    homes: Homes,
    tables: BTreeMap<ProcessId, Numbers>,
    is_made: BTreeSet<DescriptionId>,
    /// Where a process has a description that is not at home there.
    at_hand: BTreeMap<(ProcessId, DescriptionId), i32>,
    /// The number of the other end of a description, in its home process.
    other_ends: BTreeMap<DescriptionId, i32>,
}

/// Emits all steps for open files.
pub(super) fn plan(resolve: &mut Resolve) -> Result<()> {
    let mut tables = BTreeMap::new();
    for record in resolve.of_tag(Table::TAG) {
        tables.insert(ProcessId(record.owner), Table::from_record(record)?);
    }
    let mut files = Files::new();
    for record in resolve.records {
        if let Some(file) = super::load(record)? {
            files.insert(DescriptionId(record.owner), file);
        }
    }
    let plan = &mut resolve.plan;
    plan.reserved_fds = plan.reserved_fds.max(first_above(&tables, &files));
    let first_limbo = plan.reserved_fds + reserved::COUNT;
    let mut numbers: BTreeMap<_, _> = tables
        .iter()
        .filter(|(_, table)| table.shares.is_none())
        .map(|(&process, _)| (process, Numbers::new(first_limbo)))
        .collect();
    let mut bench = Bench {
        plan,
        files: &files,
        stage: Stage::CreateFiles,
        process: ProcessId(0),
        homes: Homes::assign(&tables, &files, &mut numbers)?,
        tables: numbers,
        is_made: BTreeSet::new(),
        at_hand: BTreeMap::new(),
        other_ends: BTreeMap::new(),
    };
    let owned: Vec<_> = tables
        .iter()
        .filter(|(_, table)| table.shares.is_none())
        .collect();
    for &(&process, table) in &owned {
        bench.create(process, table)?;
    }
    for &(&process, table) in &owned {
        bench.share(process, table, &tables)?;
    }
    bench.connect()?;
    for &(&process, table) in &owned {
        bench.finish(process, table);
    }
    Ok(())
}

/// The first number above all that the image uses, and two more: calls that make two descriptors
/// find room below, so that it is known which they get.
fn first_above(tables: &BTreeMap<ProcessId, Table>, files: &Files) -> i32 {
    let slots = tables.values().filter_map(|table| table.slots.last());
    slots
        .map(|slot| slot.number.saturating_add(1))
        .chain(files.values().map(|file| file.first_above()))
        .max()
        .unwrap_or(0)
        .saturating_add(2)
}

/// The stages.
impl Bench<'_> {
    fn create(&mut self, process: ProcessId, table: &Table) -> Result<()> {
        (self.stage, self.process) = (Stage::CreateFiles, process);
        for slot in &table.slots {
            let home = self.home(slot.description)?;
            if home.process != process {
                continue;
            }
            if !self.is_made.contains(&slot.description) {
                self.create_one(slot.description)?;
            }
            if home.number != slot.number {
                self.duplicate(home.number, slot);
            }
        }
        // What is in flight only.
        for id in self.homes.of(process) {
            if !self.is_made.contains(&id) {
                self.create_one(id)?;
            }
        }
        Ok(())
    }

    fn create_one(&mut self, id: DescriptionId) -> Result<()> {
        self.file(id)?.create(id, self)?;
        if self.is_made.contains(&id) {
            Ok(())
        } else {
            Err(Error::malformed(
                id.to_string(),
                "it is not made together with its companions",
            ))
        }
    }

    fn share(
        &mut self,
        process: ProcessId,
        table: &Table,
        tables: &BTreeMap<ProcessId, Table>,
    ) -> Result<()> {
        (self.stage, self.process) = (Stage::ShareFiles, process);
        let mut owners = BTreeMap::new();
        for slot in &table.slots {
            let home = self.home(slot.description)?;
            if home.process == process {
                continue;
            }
            if let Some(&number) = self.at_hand.get(&(process, slot.description)) {
                self.duplicate(number, slot);
                continue;
            }
            let pidfd = self.open_owner(home.process, &mut owners, tables)?;
            self.fetch(pidfd, home, slot.number, slot.cloexec);
            self.at_hand
                .insert((process, slot.description), slot.number);
        }
        for id in self.homes.of(process) {
            for need in self.file(id)?.needs() {
                let home = self.home(need)?;
                if home.process == process || self.at_hand.contains_key(&(process, need)) {
                    continue;
                }
                let pidfd = self.open_owner(home.process, &mut owners, tables)?;
                let number = self.limbo();
                self.fetch(pidfd, home, number, true);
                self.at_hand.insert((process, need), number);
            }
        }
        for pidfd in owners.into_values() {
            self.close(pidfd);
        }
        Ok(())
    }

    /// A pidfd of the process in which a description is at home, for this process and stage.
    fn open_owner(
        &mut self,
        owner: ProcessId,
        owners: &mut BTreeMap<ProcessId, i32>,
        tables: &BTreeMap<ProcessId, Table>,
    ) -> Result<i32> {
        if let Some(&pidfd) = owners.get(&owner) {
            return Ok(pidfd);
        }
        let pid = tables
            .get(&owner)
            .ok_or_else(|| Error::malformed(format!("process {owner}"), "no descriptor table"))?
            .pid;
        let number = self.limbo();
        let args = [Arg::from(pid), Arg::from(0)];
        let open = Call::new(
            format!("pidfd_open of {owner}, pid {pid}"),
            libc::SYS_pidfd_open,
            args,
        );
        let opened = self.call(open);
        self.move_to(opened, number, true);
        owners.insert(owner, number);
        Ok(number)
    }

    fn fetch(&mut self, pidfd: i32, home: Home, number: i32, cloexec: bool) {
        let what = format!(
            "fd {number}: the one of {}, fd {}",
            home.process, home.number
        );
        let fetch = Call::new(
            what,
            libc::SYS_pidfd_getfd,
            [Arg::from(pidfd), Arg::from(home.number), Arg::from(0)],
        );
        // pidfd_getfd sets FD_CLOEXEC.
        self.land(number, cloexec, true, fetch);
    }

    fn connect(&mut self) -> Result<()> {
        self.stage = Stage::ConnectFiles;
        let order = in_order_of_needs(self.files)?;
        for &id in &order {
            self.process = self.home(id)?.process;
            self.file(id)?.connect(id, self)?;
        }
        for id in order {
            let home = self.home(id)?;
            self.process = home.process;
            let file = self.file(id)?;
            file.finish(id, self)?;
            let open = file.open();
            if let Some(owner) = open.owner {
                let number = home.number;
                let pair = [
                    owner.owner.kind.to_ne_bytes(),
                    owner.owner.pid.to_ne_bytes(),
                ];
                self.fcntl(
                    number,
                    F_SETOWN_EX,
                    Data::new(pair.concat()),
                    "set its owner",
                );
                self.fcntl(number, F_SETSIG, owner.signal, "set its signal");
            }
            if open.flags & libc::O_ASYNC != 0 {
                // Only now: nobody shall be told of what the restore itself has written.
                let flags = open.flags & SETTABLE;
                self.fcntl(home.number, libc::F_SETFL, flags, "set its flags");
            }
        }
        Ok(())
    }

    /// Locks come last, after memory is mapped: closing *any* descriptor of a file drops the process's POSIX locks on it.
    fn finish(&mut self, process: ProcessId, table: &Table) {
        (self.stage, self.process) = (Stage::ConnectFiles, process);
        let numbers = &self.tables[&process];
        if numbers.has_limbo() {
            let first = self.plan.reserved_fds + reserved::COUNT;
            let args = [Arg::from(first), Arg::from(i32::MAX), Arg::from(0)];
            self.call(Call::new(
                "close what only the restore needed",
                libc::SYS_close_range,
                args,
            ));
        }
        self.stage = Stage::Attributes;
        for id in self.homes.of(process) {
            let number = self.homes.get(id).map_or(-1, |home| home.number);
            let file = self.files.get(&id);
            for lock in file.iter().flat_map(|file| &file.open().locks) {
                self.call(lock.call(number));
            }
        }
        for held in &table.locks {
            self.call(held.lock.call(held.number));
        }
    }
}

const F_SETOWN_EX: i32 = 15;
const F_SETSIG: i32 = 10;
/// The flags that `F_SETFL` sets.
const SETTABLE: i32 =
    libc::O_APPEND | libc::O_NONBLOCK | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME;

/// What kinds use to emit their calls.
impl<'p> Bench<'p> {
    /// Where a description is made.
    pub fn home(&self, id: DescriptionId) -> Result<Home> {
        self.homes.get(id).ok_or_else(|| missing(id))
    }

    /// The number by which the process at work has a description.
    pub fn at(&self, id: DescriptionId) -> Result<i32> {
        let home = self.home(id)?;
        if home.process == self.process {
            return Ok(home.number);
        }
        self.at_hand
            .get(&(self.process, id))
            .copied()
            .ok_or_else(|| {
                Error::malformed(id.to_string(), format!("not at hand in {}", self.process))
            })
    }

    /// What the process at work has at a number that is its program's.
    #[must_use]
    pub fn occupant(&self, number: i32) -> Option<Slot> {
        self.homes.slot(self.process, number)
    }

    /// Notes, when a description is created, the number of its other end, which no table has.
    pub fn set_other_end(&mut self, id: DescriptionId, number: i32) {
        self.other_ends.insert(id, number);
    }

    /// What was noted so.
    pub fn other_end(&self, id: DescriptionId) -> Result<i32> {
        self.other_ends.get(&id).copied().ok_or_else(|| missing(id))
    }

    /// Has a companion made first.
    pub fn create_companion(&mut self, id: DescriptionId) -> Result<()> {
        self.create_one(id)
    }

    fn file(&self, id: DescriptionId) -> Result<&'p dyn File> {
        match self.files.get(&id) {
            Some(file) => Ok(file.as_ref()),
            None => Err(missing(id)),
        }
    }

    /// Sets the flags that a call which makes two descriptions cannot set for one of them.
    pub fn set_flags(&mut self, number: i32, flags: i32) {
        let flags = flags & SETTABLE & !libc::O_ASYNC;
        if flags != 0 {
            self.fcntl(number, libc::F_SETFL, flags, "set its flags");
        }
    }

    /// Whether a description was made already, by a companion.
    #[must_use]
    pub fn is_made(&self, id: DescriptionId) -> bool {
        self.is_made.contains(&id)
    }

    /// Adds a system call.
    pub fn call(&mut self, call: Call) -> CallRef {
        let task = self.process.leader();
        self.plan.call(self.stage, task, call)
    }

    /// Adds a system call to a later stage.
    pub fn call_later(&mut self, stage: Stage, call: Call) {
        let task = self.process.leader();
        self.plan.call(stage, task, call);
    }

    /// Adds an `fcntl`.
    pub fn fcntl(&mut self, number: i32, command: i32, argument: impl Into<Arg>, what: &str) {
        self.call(Call::new(
            format!("fd {number}: {what}"),
            libc::SYS_fcntl,
            [Arg::from(number), Arg::from(command), argument.into()],
        ));
    }

    /// The descriptor of this number among those that the executor gives to every process.
    #[must_use]
    pub fn reserved(&self, which: i32) -> i32 {
        self.plan.reserved_fds + which
    }

    /// A number that stays free until the end of the restore, and is closed then.
    pub fn limbo(&mut self) -> i32 {
        self.table().limbo()
    }

    /// Makes a description by a call that returns a descriptor. The call is told whether to set
    /// `FD_CLOEXEC`.
    pub fn make(&mut self, id: DescriptionId, call: impl Fn(bool) -> Call) -> Result<()> {
        let home = self.home(id)?;
        self.is_made.insert(id);
        self.land(home.number, home.cloexec, home.cloexec, call(home.cloexec));
        Ok(())
    }

    /// Makes, in limbo, a descriptor that only the restore needs.
    pub fn make_aside(&mut self, call: Call) -> i32 {
        let number = self.limbo();
        self.land(number, true, true, call);
        number
    }

    /// Makes two descriptors by a call that writes them to memory (`pipe2`, `socketpair`), of
    /// which either may be a description that the image does not have. Returns their numbers.
    pub fn make_pair(
        &mut self,
        ids: [Option<DescriptionId>; 2],
        call: impl FnOnce(Data) -> Call,
    ) -> Result<[i32; 2]> {
        let mut targets = [(0, true); 2];
        for (target, id) in targets.iter_mut().zip(ids) {
            *target = match id {
                Some(id) => {
                    let home = self.home(id)?;
                    self.is_made.insert(id);
                    (home.number, home.cloexec)
                }
                None => (self.limbo(), true),
            };
        }
        // The kernel takes the two lowest numbers that are free.
        let first = self.table().take_lowest();
        let second = self.table().take_lowest();
        self.call(call(Data::new([0; 8])));
        let numbers = [targets[0].0, targets[1].0];
        if numbers == [first, second] {
            for (number, cloexec) in targets {
                self.fcntl(
                    number,
                    libc::F_SETFD,
                    i32::from(cloexec),
                    "set close-on-exec",
                );
            }
            return Ok(numbers);
        }
        // Out of the way first: either may have landed where the other belongs.
        let spare = [self.limbo(), self.limbo()];
        for (from, to) in [first, second].into_iter().zip(spare) {
            self.dup(from, to, true);
            self.close(from);
        }
        for (from, (to, cloexec)) in spare.into_iter().zip(targets) {
            self.dup(from, to, cloexec);
            self.close(from);
        }
        Ok(numbers)
    }

    /// `dup3`, and the table knows.
    pub fn dup(&mut self, from: i32, to: i32, cloexec: bool) {
        let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
        self.table().occupy(to);
        self.call(Call::new(
            format!("fd {to}: duplicate fd {from}"),
            libc::SYS_dup3,
            [Arg::from(from), Arg::from(to), Arg::from(flags)],
        ));
    }

    /// `close`, and the table knows.
    pub fn close(&mut self, number: i32) {
        self.table().release(number);
        self.call(Call::new(
            format!("fd {number}: close"),
            libc::SYS_close,
            [Arg::from(number)],
        ));
    }

    fn table(&mut self) -> &mut Numbers {
        let first = self.plan.reserved_fds + reserved::COUNT;
        self.tables
            .entry(self.process)
            .or_insert_with(|| Numbers::new(first))
    }

    fn duplicate(&mut self, from: i32, slot: &Slot) {
        self.dup(from, slot.number, slot.cloexec);
    }

    /// Has a call return its descriptor at a number: it lands there by itself if that is the
    /// lowest free one.
    fn land(&mut self, number: i32, cloexec: bool, is_set: bool, mut call: Call) {
        if self.table().lowest() == number {
            call.expect = Expect::Exactly(number as u64);
            self.table().occupy(number);
            self.call(call);
            if cloexec != is_set {
                self.fcntl(
                    number,
                    libc::F_SETFD,
                    i32::from(cloexec),
                    "set close-on-exec",
                );
            }
        } else {
            let made = self.call(call);
            self.move_to(made, number, cloexec);
        }
    }

    fn move_to(&mut self, from: CallRef, number: i32, cloexec: bool) {
        let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
        self.table().occupy(number);
        self.call(Call::new(
            format!("fd {number}: move it here"),
            libc::SYS_dup3,
            [Arg::from(from), Arg::from(number), Arg::from(flags)],
        ));
        self.call(Call::new(
            format!("fd {number}: close where it was"),
            libc::SYS_close,
            [Arg::from(from)],
        ));
    }
}

/// Every description after those that it needs, as far as that goes: two sockets may each carry
/// the other in flight, and then either order is right.
fn in_order_of_needs(files: &Files) -> Result<Vec<DescriptionId>> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    // A stack of our own: an image may nest deeper than the thread's stack goes.
    let mut stack: Vec<_> = files.keys().rev().map(|&id| (id, false)).collect();
    while let Some((id, is_left)) = stack.pop() {
        if is_left {
            order.push(id);
        } else if seen.insert(id) {
            let file = files.get(&id).ok_or_else(|| missing(id))?;
            stack.push((id, true));
            stack.extend(file.needs().into_iter().rev().map(|need| (need, false)));
        }
    }
    Ok(order)
}

fn missing(id: DescriptionId) -> Error {
    Error::malformed(id.to_string(), "the image does not have it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hooks::Abilities;
    use crate::object::file::Open;
    use crate::object::file::eventfd::Eventfd;
    use crate::object::file::pipe::{Pipe, PipeEnd, Place};
    use crate::plan::Step;
    use crate::refusal::Refusals;
    use crate::resolve::RestoreOptions;

    fn table(pid: i32, slots: &[(i32, u32)]) -> Table {
        let slot = |&(number, id)| Slot {
            number,
            cloexec: false,
            description: DescriptionId(id),
        };
        Table {
            pid,
            slots: slots.iter().map(slot).collect(),
            ..Table::default()
        }
    }

    fn open(flags: i32) -> Open {
        Open {
            flags,
            ..Open::default()
        }
    }

    /// What the calls of a plan are for, in order.
    fn calls(tables: &[Table], files: &[crust_image::Record]) -> Result<Vec<String>> {
        let mut records = files.to_vec();
        for (process, table) in tables.iter().enumerate() {
            records.push(table.record(process as u32, 0)?);
        }
        let mut resolve = Resolve {
            records: &records,
            abilities: Abilities::default(),
            options: &RestoreOptions::default(),
            caller: (1, 1),
            plan: Plan::default(),
            refusals: Refusals::default(),
        };
        super::plan(&mut resolve)?;
        let mut calls = Vec::new();
        for tasks in resolve.plan.stages.values() {
            for (task, steps) in tasks {
                for step in steps {
                    if let Step::Call(call) = step {
                        calls.push(format!("{task} {}", call.what));
                    }
                }
            }
        }
        Ok(calls)
    }

    fn eventfd(id: u32) -> crust_image::Record {
        let state = Eventfd {
            open: open(0),
            count: 7,
            is_semaphore: false,
        };
        state.record(id, 0).unwrap()
    }

    #[test]
    fn the_first_process_makes_it_and_the_second_takes_it() {
        let tables = [table(10, &[(0, 0), (3, 0)]), table(11, &[(5, 0)])];
        assert_eq!(
            calls(&tables, &[eventfd(0)]).unwrap(),
            [
                "p0.0 fd 0: eventfd, count 7",
                "p0.0 fd 3: duplicate fd 0",
                "p1.0 pidfd_open of p0, pid 10",
                "p1.0 fd 16: move it here",
                "p1.0 fd 16: close where it was",
                "p1.0 fd 5: the one of p0, fd 0",
                "p1.0 fd 5: move it here",
                "p1.0 fd 5: close where it was",
                "p1.0 fd 16: close",
                "p1.0 close what only the restore needed",
            ]
        );
    }

    #[test]
    fn a_pipe_that_lands_where_it_belongs_is_made_by_one_call() {
        let ends = vec![
            (DescriptionId(0), libc::O_RDONLY),
            (DescriptionId(1), libc::O_WRONLY),
        ];
        let pipe = Pipe {
            name: None,
            ends,
            capacity: 65536,
            contents: b"abc".to_vec(),
            awaits_writer: false,
        };
        let read = PipeEnd {
            open: open(libc::O_RDONLY),
            pipe: Place::Here(pipe),
        };
        let write = PipeEnd {
            open: open(libc::O_WRONLY | libc::O_NONBLOCK),
            pipe: Place::With(DescriptionId(0)),
        };
        let files = [read.record(0, 0).unwrap(), write.record(1, 0).unwrap()];
        assert_eq!(
            calls(&[table(10, &[(0, 0), (1, 1)])], &files).unwrap(),
            [
                "p0.0 make a pipe",
                "p0.0 fd 0: set close-on-exec",
                "p0.0 fd 1: set close-on-exec",
                "p0.0 fd 1: write 3 bytes",
                "p0.0 fd 1: set its flags",
            ]
        );
    }

    #[test]
    fn an_image_that_lacks_a_description_is_malformed() {
        let tables = [table(10, &[(0, 9)])];
        let error = calls(&tables, &[eventfd(0)]).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
    }
}
