// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How a thread is asked: by a batch of calls in memory that it lends, or that is mapped for it if they
//! are many, or, where that cannot be, one by one with a few bytes of the thread's own stack.

use crust_sys::signal::bit;
use crust_sys::{RemoteAddr, memory, stub};
use nix::errno::Errno;

use super::questions::{ANSWER, Questions};
use crate::batch::{self, Batch};
use crate::plan::{Arg, Call};
use crate::procfs::{self, Fields};
use crate::remote::{Remote, Room, Undo};
use crate::subject::{FrozenProcess, FrozenThread};
use crate::{Error, Result};

/// Asks a thread; it stands as before when this returns. Returns whether it could be asked: if crust may not
/// have its filters (seccomp) rest, they would meet our calls.
///
/// Each thread has its own memory for that. If crust died while two of them used the same, one would
/// take it away from under the other.
///
/// # Errors
///
/// [`Error::Gone`] if it has died.
pub fn ask(
    process: &FrozenProcess,
    thread: &FrozenThread,
    room: Option<&Room>,
    questions: &mut Questions,
) -> Result<bool> {
    let name = format!("task/{}/status", thread.tid);
    let status = Fields(procfs::read_text(&process.proc, thread.tid, &name)?);
    if status.number("Seccomp").unwrap_or(0) != 0 && !process.filters_rest() {
        return Ok(false);
    }
    let pending = |field| status.hex(field).unwrap_or(0);
    let pending = pending("SigPnd") | pending("ShdPnd");
    let signal = stub::SIGNALS
        .into_iter()
        .find(|&signal| pending & bit(signal) == 0);

    let mut remote = Remote::new(process, thread, room)?;
    let scratch = match signal.filter(|_| remote.has_room()) {
        Some(signal) => Scratch::new(&mut remote, questions, signal)?,
        None => None,
    };
    let result = match &scratch {
        Some(scratch) => scratch.run(&mut remote, questions),
        None => one_by_one(&mut remote, questions),
    };
    if let Some(Scratch {
        start,
        mapped: Some(size),
        ..
    }) = scratch
    {
        let args = [start.0, size];
        remote.call("unmap scratch memory", libc::SYS_munmap, &args)?;
    }
    remote.finish()?;
    result.map(|()| true)
}

/// Bytes below the stack pointer that belong to the function that runs (System V ABI, AMD64, 3.2.2).
const RED_ZONE: u64 = 128;

/// Memory in the target, for a batch and its answers.
struct Scratch {
    start: RemoteAddr,
    /// Its size in bytes, if it was mapped and has to be unmapped.
    mapped: Option<u64>,
    /// What tells of the end of the batch.
    signal: i32,
}

impl Scratch {
    /// `None` if a limit does not allow the program any more memory.
    fn new(remote: &mut Remote<'_>, questions: &Questions, signal: i32) -> Result<Option<Self>> {
        let size = questions.calls() * batch::ENTRY + questions.answers() * ANSWER;
        if size <= remote.can_borrow() {
            // In the page of the stack pointer, so it is there: the program gets no page more.
            let top = remote.caller().template.rsp;
            let start = top.saturating_sub(RED_ZONE + size as u64).max(top & !0xfff);
            let start = RemoteAddr(start & !15);
            if remote.borrow(start, size)? {
                return Ok(Some(Self {
                    start,
                    mapped: None,
                    signal,
                }));
            }
        }
        Self::map(remote, size.next_multiple_of(4096) as u64, signal)
    }

    fn map(remote: &mut Remote<'_>, size: u64, signal: i32) -> Result<Option<Self>> {
        let protection = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as u64;
        let args = [0, size, protection, flags, u64::MAX, 0];
        let undo = Undo {
            nr: libc::SYS_munmap,
            rest: [size, 0],
        };
        match remote.make("map scratch memory", libc::SYS_mmap, &args, undo) {
            Ok(start) => {
                let start = RemoteAddr(start);
                remote.unmapped_at_last(start, size)?;
                Ok(Some(Self {
                    start,
                    mapped: Some(size),
                    signal,
                }))
            }
            Err(Error::Task {
                errno: Errno::ENOMEM | Errno::EAGAIN,
                ..
            }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn run(&self, remote: &mut Remote<'_>, questions: &mut Questions) -> Result<()> {
        let pid = remote.caller().pid;
        let answers = self.start.offset((questions.calls() * batch::ENTRY) as u64);
        let calls: Vec<Call> = questions
            .at(answers, ANSWER as u64)
            .map(|(call, _)| call)
            .collect();
        let batch = Batch::encode(calls.iter(), self.start, |_| {
            Err(Error::malformed("a question", "refers to another"))
        })?;
        memory::write(pid, self.start, &batch.bytes)
            .map_err(|errno| Error::task(pid, "write questions", errno))?;
        remote.batch((self.start, answers), self.signal)?;
        let mut all = vec![0; batch.entry_bytes() + questions.answers() * ANSWER];
        memory::read(pid, self.start, &mut all)
            .map_err(|errno| Error::task(pid, "read answers", errno))?;
        questions.written = all.split_off(batch.entry_bytes());
        questions.returned = batch::results(pid, calls.iter(), &all, batch.calls)?.into_iter();
        Ok(())
    }
}

fn one_by_one(remote: &mut Remote<'_>, questions: &mut Questions) -> Result<()> {
    const { assert!(ANSWER.is_power_of_two()) };
    let (pid, tid) = (remote.caller().pid, remote.caller().tid);
    // In the page of the stack pointer, so it is there.
    let place = RemoteAddr(remote.caller().template.rsp & !(ANSWER as u64 - 1));
    if !remote.borrow(place, ANSWER)? {
        return Err(Error::task(tid, "borrow its stack", Errno::EFAULT));
    }
    let mut returned = Vec::new();
    let mut written = Vec::new();
    for (call, writes) in questions.at(place, 0) {
        let args: Vec<u64> = call
            .args
            .iter()
            .map(|arg| match arg {
                Arg::Value(value) => *value,
                Arg::Data(_) | Arg::Returned(_) => 0,
            })
            .collect();
        returned.push(remote.caller().raw(&call.what, call.nr, &args)? as u64);
        if writes {
            let mut answer = [0; ANSWER];
            memory::read(pid, place, &mut answer)
                .map_err(|errno| Error::task(pid, "read an answer", errno))?;
            written.extend(answer);
        }
    }
    questions.returned = returned.into_iter();
    questions.written = written;
    Ok(())
}
