// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The methods by which kinds of files emit their calls so that every descriptor lands at its
//! number.

use crust_model::plan::{Arg, Call, CallRef, Data, Expect, Operation, ProcessId, Stage, reserved};
use crust_model::{Error, Result};
use crust_sys::word;

use super::numbers::Numbers;
use super::{Creator, FdPlanner, SETTABLE, missing};
use crate::descriptor::table::Slot;
use crate::file::{DescriptionId, File};
use crate::pathless::HoldingFds;

/// The methods that kinds use to emit their calls.
impl<'p> FdPlanner<'p> {
    /// Returns the process whose calls are being emitted (the current process).
    #[must_use]
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Returns the holding descriptors of files without a path, in the processes that make them.
    #[must_use]
    pub fn holding_fds(&self) -> &'p HoldingFds<'p> {
        self.holding_fds
    }

    /// Returns where a description is made.
    pub fn creator(&self, id: DescriptionId) -> Result<Creator> {
        self.homes.get(id).ok_or_else(|| missing(id))
    }

    /// Returns the number at which the current process has a description.
    pub fn at(&self, id: DescriptionId) -> Result<i32> {
        let creator = self.creator(id)?;
        if creator.process == self.process {
            return Ok(creator.number);
        }
        self.at_hand
            .get(&(self.process, id))
            .copied()
            .ok_or_else(|| {
                Error::malformed(id.to_string(), format!("not at hand in {}", self.process))
            })
    }

    /// Returns the program's descriptor at a number of the current process.
    #[must_use]
    pub fn occupant(&self, number: i32) -> Option<Slot> {
        self.homes.slot(self.process, number)
    }

    /// Records the number of the other end of a description being created, which is in no table.
    pub fn set_other_end(&mut self, id: DescriptionId, number: i32) {
        self.other_ends.insert(id, number);
    }

    /// Returns the number that `set_other_end` recorded.
    pub fn other_end(&self, id: DescriptionId) -> Result<i32> {
        self.other_ends.get(&id).copied().ok_or_else(|| missing(id))
    }

    /// Makes a companion first.
    pub fn create_companion(&mut self, id: DescriptionId) -> Result<()> {
        self.create_one(id)
    }

    pub(super) fn file(&self, id: DescriptionId) -> Result<&'p dyn File> {
        self.files.get(&id).copied().ok_or_else(|| missing(id))
    }

    /// Sets the flags that a call making two descriptions cannot set for only one of them.
    pub fn set_flags(&mut self, number: i32, flags: i32) {
        let flags = flags & SETTABLE & !libc::O_ASYNC;
        if flags != 0 {
            self.fcntl(number, libc::F_SETFL, flags, "set its flags");
        }
    }

    /// Returns whether a companion has already made a description.
    #[must_use]
    pub fn is_made(&self, id: DescriptionId) -> bool {
        self.is_made.contains(&id)
    }

    /// Adds a system call.
    pub fn call(&mut self, call: Call) -> CallRef {
        let task = self.process.leader();
        self.plan.call(self.stage, task, call)
    }

    /// Adds an operation.
    pub fn operate(&mut self, operation: impl Operation + 'static) {
        self.operate_later(self.stage, operation);
    }

    /// Adds a system call to a later stage.
    pub fn call_later(&mut self, stage: Stage, call: Call) {
        let task = self.process.leader();
        self.plan.call(stage, task, call);
    }

    /// Adds an operation to another stage.
    pub fn operate_later(&mut self, stage: Stage, operation: impl Operation + 'static) {
        let task = self.process.leader();
        self.plan.operate(stage, task, operation);
    }

    /// Returns the process with a pid.
    pub fn of_pid(&self, pid: i32) -> Result<ProcessId> {
        let known = self.by_pid.get(&pid);
        known
            .map(|(process, _)| *process)
            .ok_or_else(|| Error::malformed(format!("process {pid}"), "the image does not have it"))
    }

    /// Adds a system call of another process that makes no lasting descriptor.
    pub fn call_of(&mut self, process: ProcessId, stage: Stage, call: Call) -> CallRef {
        self.plan.call(stage, process.leader(), call)
    }

    /// Returns a [`temporary_fd`](Self::temporary_fd) of another process.
    pub fn limbo_of(&mut self, process: ProcessId) -> i32 {
        let owner = self.by_pid.values().find(|(known, _)| *known == process);
        let owner = owner.map_or(process, |(_, owner)| *owner);
        let before = std::mem::replace(&mut self.process, owner);
        let number = self.temporary_fd();
        self.process = before;
        number
    }

    /// Adds an `fcntl`.
    pub fn fcntl(
        &mut self,
        number: i32,
        command: impl Into<Arg>,
        argument: impl Into<Arg>,
        what: &str,
    ) {
        self.call(Call::new(
            format!("fd {number}: {what}"),
            libc::SYS_fcntl,
            [number.into(), command.into(), argument.into()],
        ));
    }

    /// Returns the number of one of the descriptors that the executor gives to every process.
    #[must_use]
    pub fn reserved(&self, which: i32) -> i32 {
        self.plan.reserved_fds + which
    }

    /// Returns a temporary number, which stays free until the end of the restore and is closed
    /// then.
    pub fn temporary_fd(&mut self) -> i32 {
        self.table().temporary_fd()
    }

    /// Makes a description by a call that returns a descriptor. The closure is told whether to set
    /// `FD_CLOEXEC`.
    pub fn make(&mut self, id: DescriptionId, call: impl Fn(bool) -> Call) -> Result<()> {
        let creator = self.creator(id)?;
        self.is_made.insert(id);
        self.land(
            creator.number,
            creator.cloexec,
            creator.cloexec,
            call(creator.cloexec),
        );
        Ok(())
    }

    /// Makes a description by a call that always sets `FD_CLOEXEC`.
    pub fn make_cloexec(&mut self, id: DescriptionId, call: Call) -> Result<()> {
        let creator = self.creator(id)?;
        self.is_made.insert(id);
        self.land(creator.number, creator.cloexec, true, call);
        Ok(())
    }

    /// Makes, at a temporary number, a descriptor that only the restore needs.
    pub fn make_aside(&mut self, call: Call) -> i32 {
        let number = self.temporary_fd();
        self.land(number, true, true, call);
        number
    }

    /// Makes two descriptors by a call that writes their numbers to memory (`pipe2`, `socketpair`).
    /// Either may be of a description that is not in the image. Returns their numbers.
    pub fn make_pair(
        &mut self,
        ids: [Option<DescriptionId>; 2],
        call: impl FnOnce(Data) -> Call,
    ) -> Result<[i32; 2]> {
        let mut targets = [(0, true); 2];
        for (target, id) in targets.iter_mut().zip(ids) {
            *target = match id {
                Some(id) => {
                    let creator = self.creator(id)?;
                    self.is_made.insert(id);
                    (creator.number, creator.cloexec)
                }
                None => (self.temporary_fd(), true),
            };
        }
        // The kernel uses the two lowest free numbers.
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
        // Move both out of the way first: either may have landed where the other belongs.
        let spare = [self.temporary_fd(), self.temporary_fd()];
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

    /// Adds a `dup3` and records it in the table.
    pub fn dup(&mut self, from: i32, to: i32, cloexec: bool) {
        let flags = if cloexec { libc::O_CLOEXEC } else { 0 };
        self.table().occupy(to);
        self.call(Call::new(
            format!("fd {to}: duplicate fd {from}"),
            libc::SYS_dup3,
            [Arg::from(from), Arg::from(to), Arg::from(flags)],
        ));
    }

    /// Adds a `close` and records it in the table.
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

    pub(super) fn duplicate(&mut self, from: i32, slot: &Slot) {
        self.dup(from, slot.number, slot.cloexec);
    }

    /// Adds a call whose descriptor ends up at `number`. It lands there by itself if that is the
    /// lowest free number.
    pub(super) fn land(&mut self, number: i32, cloexec: bool, is_set: bool, mut call: Call) {
        if self.table().lowest() == number {
            call.expect = Expect::Exactly(word::from_int(number));
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

    pub(super) fn move_to(&mut self, from: CallRef, number: i32, cloexec: bool) {
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
