// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Querying one thread: by a batch of calls in a few bytes of the thread's own stack, or in memory
//! that is mapped for it if there are many calls, or, where that is not possible, by one call after
//! the other.
//!
//! A thread needs some microseconds for its answers, and waking it takes longer than that. So many
//! are queried at the same time: a [`ThreadQuery`] is started, and advances one step whenever its
//! thread has stopped.

use crust_model::plan::{Arg, Call};
use crust_model::{Error, Result};
use crust_proc::Fields;
use crust_sys::signal::bit;
use crust_sys::stub::{self, Answers};
use crust_sys::{RemoteAddr, memory, word};
use crust_tracee::batch::{self, Batch};
use crust_tracee::clock;
use crust_tracee::frozen_process::{FrozenProcess, FrozenThread};
use crust_tracee::remote::{Remote, Slot, Undo};
use nix::errno::Errno;
use zerocopy::{FromBytes, IntoBytes};

use super::query_set::{ANSWER, QuerySet};

const MAP: &str = "map scratch memory";
const UNMAP: &str = "unmap scratch memory";

/// The bytes below the stack pointer that belong to the running function (System V ABI, AMD64,
/// 3.2.2).
const RED_ZONE: u64 = 128;

/// A thread that is being queried.
pub struct ThreadQuery<'a> {
    remote: Remote<'a>,
    /// The queries about the process, if this thread answers for it; finally with the answers.
    pub queries: QuerySet,
    /// The answers of the thread about itself.
    pub answers: Answers,
    /// The realtime and the monotonic clock right after the answers were given.
    pub answered: [u64; 2],
    /// The signal that marks the end of a batch.
    signal: Option<i32>,
    /// The address for the answers of the thread.
    place: RemoteAddr,
    /// The batch that is being executed.
    batch: Batch,
    /// The address and size of memory that was mapped for the batch.
    mapped: Option<(RemoteAddr, u64)>,
    on_its_way: To,
}

/// The stop to which a thread is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    MapEntry,
    MapExit,
    EndOfBatch,
    UnmapEntry,
    UnmapExit,
    Old,
}

/// Returns whether a thread may be queried: there has to be a vDSO to make calls in, and its
/// seccomp filters must be suspended, because otherwise they would see our calls.
pub fn is_allowed(process: &FrozenProcess, status: &Fields) -> bool {
    let has_place = process.syscall_insn.is_some();
    has_place && filters_allow(process, status)
}

fn filters_allow(process: &FrozenProcess, status: &Fields) -> bool {
    status.number("Seccomp").unwrap_or(0) == 0 || process.filters_rest()
}

impl<'a> ThreadQuery<'a> {
    /// Starts the queries to a thread. In each process, only one thread at a time may be asked
    /// about the process.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] if the thread has died.
    pub fn begin(
        process: &FrozenProcess,
        thread: &FrozenThread,
        status: &Fields,
        slot: Option<Slot<'a>>,
        queries: QuerySet,
    ) -> Result<Self> {
        let waits = |field| status.hex(field).unwrap_or(0);
        let waits = waits("SigPnd") | waits("ShdPnd");
        let signal = stub::SIGNALS
            .into_iter()
            .find(|&signal| waits & bit(signal) == 0)
            .filter(|_| slot.is_some());
        let mut query = Self {
            remote: Remote::prepare(process, thread, slot)?,
            queries,
            answers: Answers::default(),
            answered: [0; 2],
            signal,
            place: place(thread),
            batch: Batch::default(),
            mapped: None,
            on_its_way: To::Old,
        };
        query.set_off()?;
        Ok(query)
    }

    fn set_off(&mut self) -> Result<()> {
        let Some(signal) = self.signal else {
            return self.ask_one_by_one();
        };
        let mask = !bit(signal);
        if self.queries.calls() == 0 && self.remote.borrow(self.place, size_of::<Answers>())? {
            // This is in the page of the stack pointer, so the page exists: the program does not get
            // one more.
            self.remote.begin(mask)?;
            return self.begin_batch((RemoteAddr(0), RemoteAddr(0)));
        }
        self.remote.begin(mask)?;
        let size = self.size();
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let args = [0, size, protection, flags, u64::MAX, 0];
        let undo = Undo {
            nr: libc::SYS_munmap,
            rest: [size, 0],
        };
        self.remote
            .set_off(MAP, libc::SYS_mmap, &args, Some(undo))?;
        self.on_its_way = To::MapEntry;
        Ok(())
    }

    /// Waits for the stop to which the thread is on its way, and starts it towards the next one.
    /// Returns `false` when the thread is stopped as before.
    ///
    /// # Errors
    ///
    /// [`Error::Gone`] if the thread has died.
    pub fn advance(&mut self) -> Result<bool> {
        match self.on_its_way {
            To::MapEntry => {
                self.remote.pass_entry(MAP)?;
                self.on_its_way = To::MapExit;
            }
            To::MapExit => match self.remote.returned(MAP) {
                Ok(start) => self.begin_questions(RemoteAddr(start))?,
                // A limit does not allow the program any more memory.
                Err(Error::Task {
                    errno: Errno::ENOMEM | Errno::EAGAIN,
                    ..
                }) => {
                    self.ask_one_by_one()?;
                }
                Err(error) => return Err(error),
            },
            To::EndOfBatch => {
                self.end_batch()?;
                match self.mapped {
                    Some((start, size)) => {
                        let args = [start.0, size];
                        self.remote.set_off(UNMAP, libc::SYS_munmap, &args, None)?;
                        self.on_its_way = To::UnmapEntry;
                    }
                    None => self.leave()?,
                }
            }
            To::UnmapEntry => {
                self.remote.pass_entry(UNMAP)?;
                self.on_its_way = To::UnmapExit;
            }
            To::UnmapExit => {
                self.remote.returned(UNMAP)?;
                self.leave()?;
            }
            To::Old => {
                self.remote.settle()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn leave(&mut self) -> Result<()> {
        self.on_its_way = To::Old;
        self.remote.leave()
    }

    /// Returns the size of the memory to map.
    fn size(&self) -> u64 {
        let answers = size_of::<Answers>() + self.queries.answers() * ANSWER;
        let size = self.queries.calls() * batch::ENTRY + answers;
        size.next_multiple_of(4096) as u64
    }

    /// Starts the batch in memory that was mapped for it: queries, their answers, and the answers
    /// of the thread.
    fn begin_questions(&mut self, start: RemoteAddr) -> Result<()> {
        let tid = self.remote.caller().tid;
        let size = self.size();
        self.remote.unmapped_at_last(start, size)?;
        self.mapped = Some((start, size));
        let answers = start.offset((self.queries.calls() * batch::ENTRY) as u64);
        self.place = answers.offset((self.queries.answers() * ANSWER) as u64);
        let calls: Vec<Call> = self
            .queries
            .at(answers, ANSWER as u64)
            .map(|(call, _)| call)
            .collect();
        self.batch = Batch::encode(calls.iter(), start, |_| {
            Err(Error::malformed("a question", "refers to another"))
        })?;
        memory::write(tid, start, &self.batch.bytes)
            .map_err(|errno| Error::task(tid, "write queries", errno))?;
        self.begin_batch((start, answers))
    }

    fn begin_batch(&mut self, entries: (RemoteAddr, RemoteAddr)) -> Result<()> {
        let signal = self.signal.unwrap_or_default();
        self.remote.begin_batch(self.place, entries, signal)?;
        self.on_its_way = To::EndOfBatch;
        Ok(())
    }

    fn end_batch(&mut self) -> Result<()> {
        self.remote.end_batch(self.signal.unwrap_or_default())?;
        self.answered = clock::day_and_monotonic();
        let tid = self.remote.caller().tid;
        let read = |from, bytes: &mut [u8]| {
            memory::read(tid, from, bytes).map_err(|errno| Error::task(tid, "read answers", errno))
        };
        let Some((start, _)) = self.mapped else {
            return read(self.place, self.answers.as_mut_bytes());
        };
        let mut all = vec![0; word::to_size(self.place.0 - start.0) + size_of::<Answers>()];
        read(start, &mut all)?;
        let own = all.split_off(word::to_size(self.place.0 - start.0));
        self.answers = Answers::read_from_bytes(&own).unwrap_or_default();
        self.queries.written = all.split_off(self.batch.entry_bytes());
        self.queries.returned = batch::returned(&all).into_iter();
        Ok(())
    }

    /// Makes the calls one after the other, without a batch.
    fn ask_one_by_one(&mut self) -> Result<()> {
        const { assert!(ANSWER.is_power_of_two()) };
        let tid = self.remote.caller().tid;
        // This is in the page of the stack pointer, so the page exists.
        let place = RemoteAddr(self.remote.caller().template.rsp & !(ANSWER as u64 - 1));
        if !self.remote.borrow(place, ANSWER)? {
            return Err(Error::task(tid, "borrow its stack", Errno::EFAULT));
        }
        self.remote.begin(u64::MAX)?;
        let mut of_thread = QuerySet::default();
        of_thread.of_thread();
        for queries in [&mut self.queries, &mut of_thread] {
            let mut returned = Vec::new();
            let mut written = Vec::new();
            for (call, writes) in queries.at(place, 0) {
                let args: Vec<u64> = call
                    .args
                    .iter()
                    .map(|arg| match arg {
                        Arg::Value(value) => *value,
                        Arg::Data(_) | Arg::Returned(_) => 0,
                    })
                    .collect();
                returned.push(word::from_long(self.remote.raw(
                    &call.label,
                    call.nr,
                    &args,
                )?));
                if writes {
                    let mut answer = [0; ANSWER];
                    memory::read(tid, place, &mut answer)
                        .map_err(|errno| Error::task(tid, "read an answer", errno))?;
                    written.extend(answer);
                }
            }
            queries.returned = returned.into_iter();
            queries.written = written;
        }
        self.answers = of_thread.answers_of_thread();
        self.answered = clock::day_and_monotonic();
        self.leave()
    }
}

/// Returns the address of a few bytes of a thread's stack to borrow: in the page of the stack
/// pointer.
pub fn place(thread: &FrozenThread) -> RemoteAddr {
    let top = thread.registers.rsp;
    let below = RED_ZONE + size_of::<Answers>() as u64;
    let start = top.saturating_sub(below).max(top & !0xfff);
    RemoteAddr(start & !15)
}

#[cfg(test)]
mod tests {
    use crust_sys::ptrace;

    use super::*;

    #[test]
    fn what_is_lent_is_in_the_page_of_the_stack_pointer() {
        let mut registers = ptrace::registers_from_bytes(&[0; 27 * 8]).unwrap();
        for (rsp, start) in [(0x7fff_1458, 0x7fff_1390), (0x7fff_1020, 0x7fff_1000)] {
            registers.rsp = rsp;
            let thread = FrozenThread {
                tid: 1,
                registers,
                mask: 0,
                limit: None,
            };
            assert_eq!(place(&thread), RemoteAddr(start));
        }
    }
}
