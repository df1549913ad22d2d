// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Plans where descriptions are made: by which process, at which number, and how the others get
//! them.
//!
//! Each description has a [`Creator`]: the first process that has it, and its first number there. In
//! [`Stage::CreateFiles`] every process makes the descriptions it creates, by ascending numbers, so that nearly every
//! `open` lands where it belongs; its own duplicates follow. In [`Stage::ShareFiles`] the other processes fetch their
//! descriptors with `pidfd_getfd`. In [`Stage::ConnectFiles`] descriptions are filled and connected to each other.
//!
//! A description that is in no table (because it is in flight, or is only the other end of a pipe) is created at a
//! *temporary number* above all that the image uses, which is closed at the end of the last of these stages. Locks are
//! set in [`Stage::Attributes`].

pub mod creator;
pub mod numbers;
#[cfg(test)]
mod tests;
pub mod tool;

use std::collections::{BTreeMap, BTreeSet};

pub use creator::Creator;
use crust_model::plan::{Arg, Call, Data, Plan, ProcessId, Stage, reserved};
use crust_model::{Error, Result};
use linux_raw_sys::general::{F_SETOWN_EX, F_SETSIG};

use self::creator::Homes;
use self::numbers::Numbers;
use super::{DescriptionId, Files, missing};
use crate::descriptor::table::Table;
use crate::kind::Kinds;
use crate::pathless::HoldingFds;
use crate::plan_context::PlanCx;

/// The descriptor tables of all processes.
type Tables<'i> = BTreeMap<ProcessId, &'i Table>;

/// Emits the calls that make descriptors, and tracks what each process has in its table by then.
pub struct FdPlanner<'p> {
    plan: &'p mut Plan,
    files: &'p Files<'p>,
    stage: Stage,
    process: ProcessId,
    homes: Homes,
    tables: BTreeMap<ProcessId, Numbers>,
    is_made: BTreeSet<DescriptionId>,
    /// The number at which a process has a description that another process creates.
    at_hand: BTreeMap<(ProcessId, DescriptionId), i32>,
    /// The number of the other end of a description, in the process of its creator.
    other_ends: BTreeMap<DescriptionId, i32>,
    holding_fds: &'p HoldingFds<'p>,
    /// Each process by its pid, with the process whose table it uses.
    by_pid: BTreeMap<i32, (ProcessId, ProcessId)>,
}

/// Emits all steps for open files.
pub(super) fn plan(kinds: Kinds, cx: &mut PlanCx) -> Result<()> {
    let image = cx.image;
    let tables: Tables<'_> = image
        .all::<Table>()
        .map(|(owner, table)| (owner.process(), table))
        .collect();
    let files = super::all(kinds, image)?;
    let sharers: Vec<_> = tables
        .iter()
        .filter_map(|(&process, table)| table.shares.map(|owner| (owner, process)))
        .collect();
    for &(owner, sharer) in &sharers {
        let shared = &mut cx.plan.shared_tables;
        *shared.entry(owner).or_default() = 0;
        // `Plan::temporary_fd` saturates too: no table has such a number.
        let place = i32::try_from(shared.len()).unwrap_or(i32::MAX);
        shared.insert(sharer, place);
    }
    let plan = &mut cx.plan;
    let first = first_above(&tables, &files);
    let first = first.saturating_add(HoldingFds::count(kinds, image)?);
    plan.reserved_fds = plan.reserved_fds.max(first);
    let holding_fds = HoldingFds::of(kinds, image, plan.reserved_fds)?;
    holding_fds.make(plan);
    let first_limbo = plan.reserved_fds + reserved::COUNT;
    let mut numbers: BTreeMap<_, _> = tables
        .iter()
        .filter(|(_, table)| table.shares.is_none())
        .map(|(&process, _)| (process, Numbers::new(first_limbo)))
        .collect();
    let mut planner = FdPlanner {
        plan,
        files: &files,
        stage: Stage::CreateFiles,
        process: ProcessId(0),
        homes: Homes::assign(&tables, &files, &mut numbers)?,
        tables: numbers,
        is_made: BTreeSet::new(),
        at_hand: BTreeMap::new(),
        other_ends: BTreeMap::new(),
        holding_fds: &holding_fds,
        by_pid: tables
            .iter()
            .map(|(&process, table)| (table.pid, (process, table.shares.unwrap_or(process))))
            .collect(),
    };
    let owned: Vec<_> = tables
        .iter()
        .filter(|(_, table)| table.shares.is_none())
        .collect();
    for &(&process, table) in &owned {
        planner.create(process, table)?;
    }
    for &(&process, table) in &owned {
        planner.share(process, table, &tables)?;
    }
    planner.connect()?;
    let owners: BTreeSet<_> = sharers.iter().map(|&(owner, _)| owner).collect();
    for &(&process, table) in &owned {
        // Set locks in the first stage after which no descriptor of that table is closed any more.
        let last = match owners.contains(&process) {
            true => Stage::Resume,
            false => Stage::Attributes,
        };
        planner.finish(process, table, last);
    }
    let plan = &mut cx.plan;
    for &(owner, sharer) in &sharers {
        take_temporary(plan, owner, sharer);
    }
    let close = plan.close_reserved();
    for owner in owners {
        take_temporary(plan, owner, owner);
        let call = close.clone();
        plan.call(Stage::Resume, owner.leader(), call);
    }
    Ok(())
}

/// Occupies the number that `sharer` will use temporarily in the table of `owner`, so that nothing another process
/// opens meanwhile lands there.
fn take_temporary(plan: &mut Plan, owner: ProcessId, sharer: ProcessId) {
    let (from, to) = (
        plan.reserved_fds + reserved::PROC,
        plan.temporary_fd(sharer),
    );
    let call = Call::new(
        format!("fd {to}: keep it free for {sharer}"),
        libc::SYS_dup3,
        [from.into(), to.into(), libc::O_CLOEXEC.into()],
    );
    plan.call(Stage::ConnectFiles, owner.leader(), call);
}

/// Returns the first number above all that the image uses, plus two: calls that make two
/// descriptors then find room below, so that it is known which numbers they get.
fn first_above(tables: &Tables<'_>, files: &Files<'_>) -> i32 {
    let slots = tables.values().filter_map(|table| table.slots.last());
    slots
        .map(|slot| slot.number.saturating_add(1))
        .chain(files.values().map(|file| file.first_above()))
        .max()
        .unwrap_or(0)
        .saturating_add(2)
}

/// The flags that `F_SETFL` sets.
const SETTABLE: i32 =
    libc::O_APPEND | libc::O_NONBLOCK | libc::O_ASYNC | libc::O_DIRECT | libc::O_NOATIME;

/// The stages of the plan.
impl FdPlanner<'_> {
    fn create(&mut self, process: ProcessId, table: &Table) -> Result<()> {
        (self.stage, self.process) = (Stage::CreateFiles, process);
        for slot in &table.slots {
            let creator = self.creator(slot.description)?;
            if creator.process != process {
                continue;
            }
            if !self.is_made.contains(&slot.description) {
                self.create_one(slot.description)?;
            }
            if creator.number != slot.number {
                self.duplicate(creator.number, slot);
            }
        }
        // These are only in flight.
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

    fn share(&mut self, process: ProcessId, table: &Table, tables: &Tables<'_>) -> Result<()> {
        (self.stage, self.process) = (Stage::ShareFiles, process);
        let mut owners = BTreeMap::new();
        for slot in &table.slots {
            let creator = self.creator(slot.description)?;
            if creator.process == process {
                continue;
            }
            if let Some(&number) = self.at_hand.get(&(process, slot.description)) {
                self.duplicate(number, slot);
                continue;
            }
            let pidfd = self.open_owner(creator.process, &mut owners, tables)?;
            self.fetch(pidfd, creator, slot.number, slot.cloexec);
            self.at_hand
                .insert((process, slot.description), slot.number);
        }
        for id in self.homes.of(process) {
            for need in self.file(id)?.needs() {
                let creator = self.creator(need)?;
                if creator.process == process || self.at_hand.contains_key(&(process, need)) {
                    continue;
                }
                let pidfd = self.open_owner(creator.process, &mut owners, tables)?;
                let number = self.temporary_fd();
                self.fetch(pidfd, creator, number, true);
                self.at_hand.insert((process, need), number);
            }
        }
        for pidfd in owners.into_values() {
            self.close(pidfd);
        }
        Ok(())
    }

    /// Returns a pidfd of the process that creates a description, opened once per process and
    /// stage.
    fn open_owner(
        &mut self,
        owner: ProcessId,
        owners: &mut BTreeMap<ProcessId, i32>,
        tables: &Tables<'_>,
    ) -> Result<i32> {
        if let Some(&pidfd) = owners.get(&owner) {
            return Ok(pidfd);
        }
        let pid = tables
            .get(&owner)
            .ok_or_else(|| Error::malformed(format!("process {owner}"), "no descriptor table"))?
            .pid;
        let number = self.temporary_fd();
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

    fn fetch(&mut self, pidfd: i32, creator: Creator, number: i32, cloexec: bool) {
        let what = format!(
            "fd {number}: the one of {}, fd {}",
            creator.process, creator.number
        );
        let fetch = Call::new(
            what,
            libc::SYS_pidfd_getfd,
            [Arg::from(pidfd), Arg::from(creator.number), Arg::from(0)],
        );
        // pidfd_getfd sets FD_CLOEXEC.
        self.land(number, cloexec, true, fetch);
    }

    fn connect(&mut self) -> Result<()> {
        self.stage = Stage::ConnectFiles;
        let order = in_order_of_needs(self.files)?;
        for &id in &order {
            self.process = self.creator(id)?.process;
            self.file(id)?.connect(id, self)?;
        }
        for id in order {
            let creator = self.creator(id)?;
            self.process = creator.process;
            let file = self.file(id)?;
            file.finish(id, self)?;
            let open = file.open();
            if let Some(owner) = open.owner {
                let number = creator.number;
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
                // Enable O_ASYNC last so restore-time writes do not raise SIGIO.
                let flags = open.flags & SETTABLE;
                self.fcntl(creator.number, libc::F_SETFL, flags, "set its flags");
            }
        }
        Ok(())
    }

    /// Closes the temporary numbers, then sets the locks. Locks come last, after memory is mapped, since closing *any*
    /// descriptor of a file drops the process's POSIX locks on it.
    fn finish(&mut self, process: ProcessId, table: &Table, last: Stage) {
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
        self.stage = last;
        for id in self.homes.of(process) {
            let number = self.homes.get(id).map_or(-1, |creator| creator.number);
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

/// Orders the descriptions so that each follows those it needs, as far as possible: two sockets may
/// each carry the other in flight, and then either order is right.
fn in_order_of_needs(files: &Files<'_>) -> Result<Vec<DescriptionId>> {
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    // Use an explicit stack: an image may nest deeper than the thread's stack allows.
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
