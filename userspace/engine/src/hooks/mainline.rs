// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The hooks of a stock kernel: the stopped target is made to ask about itself.
//!
//! All that is wanted of a process is asked at once, the first time that anything is: some scratch
//! memory is mapped in it, a batch of calls is run in each of its threads, and the memory is unmapped.
//! Then everything is as it was.
//!
//! Should crust be killed in the midst of a batch, the thread finds its way back by itself
//! ([`stub`](crust_sys::stub)). Only during the two calls that map and unmap the scratch memory,
//! some 20 microseconds each, there is nothing of ours that could do that.

use std::cell::RefCell;
use std::collections::HashMap;

use crust_sys::stub::{Entry, Frame};
use crust_sys::{RemoteAddr, memory, uapi};
use nix::errno::Errno;
use zerocopy::IntoBytes;

use super::{Abilities, Hooks, TimerState};
use crate::batch::{self, Batch, layout};
use crate::plan::{Arg, Call};
use crate::procfs;
use crate::remote::Remote;
use crate::subject::{FrozenProcess, FrozenThread};
use crate::{Error, Result};

/// What a stock kernel can be asked.
#[derive(Debug, Default)]
pub struct Mainline {
    surveys: RefCell<HashMap<i32, Survey>>,
}

/// The answers of one process.
#[derive(Debug, Default)]
struct Survey {
    actions: Vec<uapi::Sigaction>,
    process: uapi::Process,
    threads: HashMap<i32, uapi::Thread>,
    timers: HashMap<i32, TimerState>,
}

impl Mainline {
    fn ask<T>(
        &self,
        process: &FrozenProcess,
        answer: impl FnOnce(&Survey) -> Option<T>,
    ) -> Result<T> {
        let mut surveys = self.surveys.borrow_mut();
        let survey = match surveys.entry(process.pid) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(survey(process)?),
        };
        answer(survey).ok_or_else(|| {
            Error::malformed(
                format!("process {}", process.pid),
                "asked for what it does not have",
            )
        })
    }
}

impl Hooks for Mainline {
    fn abilities(&self) -> Abilities {
        Abilities::default()
    }

    fn signal_actions(&self, process: &FrozenProcess) -> Result<Vec<uapi::Sigaction>> {
        self.ask(process, |survey| Some(survey.actions.clone()))
    }

    fn thread(&self, process: &FrozenProcess, thread: &FrozenThread) -> Result<uapi::Thread> {
        self.ask(process, |survey| survey.threads.get(&thread.tid).copied())
    }

    fn process(&self, process: &FrozenProcess) -> Result<uapi::Process> {
        self.ask(process, |survey| Some(survey.process))
    }

    fn posix_timers(&self, process: &FrozenProcess, ids: &[i32]) -> Result<Vec<TimerState>> {
        self.ask(process, |survey| {
            ids.iter()
                .map(|id| survey.timers.get(id).copied())
                .collect()
        })
    }

    fn socket(
        &self,
        _: &FrozenProcess,
        _: i32,
    ) -> Result<Option<(uapi::Socket, Vec<uapi::Pending>)>> {
        Ok(None)
    }
}

// Requests that `libc` has no names for.
const PR_GET_TID_ADDRESS: u64 = 40;
const MEMBARRIER_CMD_GET_REGISTRATIONS: u64 = 1 << 9;

/// Answers have this much room each, the largest is a `struct itimerspec` or `sigaction`.
const ANSWER: u64 = 32;

/// Asks everything about a process.
fn survey(process: &FrozenProcess) -> Result<Survey> {
    let Some((leader, others)) = process.threads.split_first() else {
        return Err(Error::malformed(
            format!("process {}", process.pid),
            "a zombie cannot be asked",
        ));
    };
    let timers = timer_ids(process)?;
    let mut survey = Survey::default();
    let mut remote = Remote::new(process, leader)?;
    let scratch = Scratch::map(&mut remote, process.pid, 64 + 64 + timers.len())?;
    let result = (|| {
        let mut questions = Questions::new(scratch.answers());
        questions.of_process(&timers);
        questions.of_thread();
        scratch.run(&mut remote, &mut questions)?;
        survey.read_process(process, &timers, &mut questions)?;
        survey.read_thread(leader, &mut questions);
        for thread in others {
            let mut remote = Remote::new(process, thread)?;
            let mut questions = Questions::new(scratch.answers());
            questions.of_thread();
            scratch.run(&mut remote, &mut questions)?;
            survey.read_thread(thread, &mut questions);
            remote.finish()?;
        }
        Ok(())
    })();
    scratch.unmap(&mut remote)?;
    remote.finish()?;
    result.map(|()| survey)
}

/// The ids in `/proc/PID/timers`.
fn timer_ids(process: &FrozenProcess) -> Result<Vec<i32>> {
    let text = match procfs::read_text(&process.proc, process.pid, "timers") {
        Ok(text) => text,
        // A kernel without CONFIG_POSIX_TIMERS.
        Err(Error::Task {
            errno: Errno::ENOENT,
            ..
        }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(text
        .lines()
        .filter_map(|line| line.strip_prefix("ID: ")?.trim().parse().ok())
        .collect())
}

/// Calls, and where their answers go.
struct Questions {
    calls: Vec<Call>,
    next: u64,
    /// What the calls returned.
    returned: std::vec::IntoIter<u64>,
    /// What they wrote.
    written: Vec<u8>,
    read: usize,
}

impl Questions {
    fn new(answers: RemoteAddr) -> Self {
        Self {
            calls: Vec::new(),
            next: answers.0,
            returned: Vec::new().into_iter(),
            written: Vec::new(),
            read: 0,
        }
    }

    /// A call whose result is the answer.
    fn plain(&mut self, what: &str, nr: i64, args: &[u64]) {
        let args: Vec<Arg> = args.iter().map(|&value| Arg::Value(value)).collect();
        self.calls.push(Call::new(what, nr, args).whatever());
    }

    /// A call that writes its answer where the argument number `place` says.
    fn writing(&mut self, what: &str, nr: i64, args: &[u64], place: usize) {
        let mut args = args.to_vec();
        args[place] = self.next;
        self.next += ANSWER;
        self.plain(what, nr, &args);
    }

    fn of_process(&mut self, timers: &[i32]) {
        for signal in 1..=uapi::CKPT_NSIG as u64 {
            let args = [signal, 0, 0, 8];
            self.writing("rt_sigaction", libc::SYS_rt_sigaction, &args, 2);
        }
        for which in 0..3 {
            self.writing("getitimer", libc::SYS_getitimer, &[which, 0], 1);
        }
        self.plain("brk", libc::SYS_brk, &[0]);
        let subreaper = [libc::PR_GET_CHILD_SUBREAPER as u64, 0];
        self.writing("prctl", libc::SYS_prctl, &subreaper, 1);
        let thp = [libc::PR_GET_THP_DISABLE as u64, 0, 0, 0, 0];
        self.plain("prctl", libc::SYS_prctl, &thp);
        let registrations = [MEMBARRIER_CMD_GET_REGISTRATIONS, 0, 0];
        self.plain("membarrier", libc::SYS_membarrier, &registrations);
        for &id in timers {
            let args = [id as u64, 0];
            self.writing("timer_gettime", libc::SYS_timer_gettime, &args, 1);
            self.plain("timer_getoverrun", libc::SYS_timer_getoverrun, &args[..1]);
        }
    }

    fn of_thread(&mut self) {
        self.writing("prctl", libc::SYS_prctl, &[PR_GET_TID_ADDRESS, 0], 1);
        self.writing("sigaltstack", libc::SYS_sigaltstack, &[0, 0], 1);
        let pdeathsig = [libc::PR_GET_PDEATHSIG as u64, 0];
        self.writing("prctl", libc::SYS_prctl, &pdeathsig, 1);
        let securebits = [libc::PR_GET_SECUREBITS as u64];
        self.plain("prctl", libc::SYS_prctl, &securebits);
        let slack = [libc::PR_GET_TIMERSLACK as u64];
        self.plain("prctl", libc::SYS_prctl, &slack);
    }

    /// The next result.
    fn result(&mut self) -> i64 {
        self.returned.next().unwrap_or_default() as i64
    }

    /// The next written answer, as words, if its call went well.
    fn answer(&mut self) -> Option<[u64; 4]> {
        let result = self.result();
        let bytes = &self.written[self.read..][..ANSWER as usize];
        self.read += ANSWER as usize;
        let word =
            |n: usize| u64::from_ne_bytes(bytes[n * 8..n * 8 + 8].try_into().expect("8 bytes"));
        (result == 0).then(|| [word(0), word(1), word(2), word(3)])
    }
}

impl Survey {
    fn read_process(
        &mut self,
        process: &FrozenProcess,
        timers: &[i32],
        questions: &mut Questions,
    ) -> Result<()> {
        for _ in 0..uapi::CKPT_NSIG {
            let [handler, flags, restorer, mask] = questions.answer().unwrap_or_default();
            self.actions.push(uapi::Sigaction {
                handler,
                flags,
                restorer,
                mask,
            });
        }
        let answer = &mut self.process;
        for itimer in &mut answer.itimer {
            // struct itimerval: interval, then value, in microseconds.
            let micro = |seconds: u64, rest: u64| (seconds * 1_000_000 + rest) * 1000;
            let [s, us, value_s, value_us] = questions.answer().unwrap_or_default();
            itimer.interval = micro(s, us);
            itimer.value = micro(value_s, value_us);
        }
        answer.brk = questions.result() as u64;
        if questions.answer().unwrap_or_default()[0] as u32 != 0 {
            answer.state |= uapi::process_state::CHILD_SUBREAPER;
        }
        // 1: disabled; 3: except where it was advised (PR_THP_DISABLE_EXCEPT_ADVISED).
        match questions.result() {
            1 => answer.state |= uapi::process_state::THP_DISABLE,
            3 => answer.state |= uapi::process_state::THP_DISABLE_EXCEPT_ADVISED,
            _ => {}
        }
        answer.membarrier = membarrier_state(questions.result());
        for &id in timers {
            let written = questions.answer();
            let overrun = questions.result();
            let [s, ns, value_s, value_ns] = written.ok_or_else(|| {
                Error::malformed(
                    format!("timer {id} of process {}", process.pid),
                    "it cannot be read",
                )
            })?;
            let state = TimerState {
                value: value_s * 1_000_000_000 + value_ns,
                interval: s * 1_000_000_000 + ns,
                overrun: overrun.max(0) as u32,
            };
            self.timers.insert(id, state);
        }

        let text = procfs::read_text(&process.proc, process.pid, "stat")?;
        let stat = procfs::Stat::parse(&text).ok_or_else(|| {
            Error::malformed(format!("/proc/{}/stat", process.pid), "cannot be parsed")
        })?;
        // In hundredths of a second since boot (USER_HZ); the other clock is not told.
        let answer = &mut self.process;
        answer.start_boottime = stat.field(22) * 10_000_000;
        Ok(())
    }

    fn read_thread(&mut self, thread: &FrozenThread, questions: &mut Questions) {
        const RESTART_BLOCK: i64 = -516;
        const SS_DISABLE: u32 = 2;
        const SS_AUTODISARM: u32 = 1 << 31;
        let mut answer = uapi::Thread::default();
        answer.clear_child_tid = questions.answer().unwrap_or_default()[0];
        let [sp, flags, size, _] = questions.answer().unwrap_or_default();
        answer.sas_sp = sp;
        // SS_ONSTACK is computed from the stack pointer, and no part of the state.
        answer.sas_flags = flags as u32 & (SS_DISABLE | SS_AUTODISARM);
        answer.sas_size = size;
        answer.pdeath_signal = questions.answer().unwrap_or_default()[0] as i32;
        answer.securebits = questions.result() as u32;
        answer.timer_slack = questions.result() as u64;
        answer.default_timer_slack = answer.timer_slack;
        let registers = &thread.registers;
        if registers.rax as i64 == RESTART_BLOCK && registers.orig_rax != u64::MAX {
            answer.restart.kind = uapi::restart::OTHER;
        }
        self.threads.insert(thread.tid, answer);
    }
}

/// `membarrier` tells which registrations were made; the kernel keeps two bits for each
/// (`MEMBARRIER_STATE_*`, include/linux/sched/mm.h).
fn membarrier_state(registrations: i64) -> u32 {
    // MEMBARRIER_CMD_REGISTER_*, and the bits that it leaves.
    const BITS: [(i64, u32); 4] = [
        (1 << 4, 0b11),
        (1 << 2, 0b11 << 2),
        (1 << 6, 0b11 << 4),
        (1 << 8, 0b11 << 6),
    ];
    BITS.iter()
        // A kernel before 6.3 does not know the question.
        .filter(|(command, _)| registrations > 0 && registrations & command != 0)
        .fold(0, |state, (_, bits)| state | bits)
}

/// Memory in the target, for as long as it is asked.
struct Scratch {
    pid: i32,
    start: RemoteAddr,
    size: u64,
    /// Where in it the answers go: behind the batch.
    answers: u64,
    /// Whether the code may run there; else the calls are made one by one.
    runs: bool,
    /// What was there before, if the memory is the program's own.
    borrowed: Option<Vec<u8>>,
}

impl Scratch {
    fn map(remote: &mut Remote, pid: i32, answers: usize) -> Result<Self> {
        // For each answer there is at most one call without one.
        let calls = 2 * answers * size_of::<Entry>();
        let answers_at = (layout::BATCHES + calls as u64).next_multiple_of(4096);
        let size = answers_at + answers as u64 * ANSWER;
        let size = size.next_multiple_of(4096);
        let mut map = |protection: i32| {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let args = [0, size, protection as u64, flags as u64, u64::MAX, 0];
            remote.call("map scratch memory", libc::SYS_mmap, &args)
        };
        let data = libc::PROT_READ | libc::PROT_WRITE;
        let (start, runs) = match map(data | libc::PROT_EXEC) {
            Ok(start) => (start, true),
            // SELinux, or PR_SET_MDWE: not both writable and executable.
            Err(Error::Task {
                errno: Errno::EACCES | Errno::EPERM,
                ..
            }) => (map(data)?, false),
            // A limit does not allow the program any more memory.
            Err(Error::Task {
                errno: Errno::ENOMEM,
                ..
            }) => return Self::borrow(pid, remote.caller().template.rsp, answers),
            Err(error) => return Err(error),
        };
        let scratch = Self {
            pid,
            start: RemoteAddr(start),
            size,
            answers: answers_at,
            runs,
            borrowed: None,
        };
        if runs {
            scratch.write(layout::CODE, batch::code())?;
        }
        Ok(scratch)
    }

    /// Puts the answers onto the stack, over what is there now.
    fn borrow(pid: i32, stack: u64, answers: usize) -> Result<Self> {
        let mut scratch = Self {
            pid,
            start: RemoteAddr(stack.next_multiple_of(16)),
            size: answers as u64 * ANSWER,
            answers: 0,
            runs: false,
            borrowed: None,
        };
        scratch.borrowed = Some(scratch.read(scratch.start, scratch.size as usize)?);
        Ok(scratch)
    }

    fn at(&self, offset: u64) -> RemoteAddr {
        self.start.offset(offset)
    }

    fn answers(&self) -> RemoteAddr {
        self.at(self.answers)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        memory::write(self.pid, self.at(offset), bytes)
            .map_err(|errno| Error::task(self.pid, "write scratch memory", errno))
    }

    fn read(&self, from: RemoteAddr, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        memory::read(self.pid, from, &mut bytes)
            .map_err(|errno| Error::task(self.pid, "read scratch memory", errno))?;
        Ok(bytes)
    }

    /// Asks in one thread.
    fn run(&self, remote: &mut Remote, questions: &mut Questions) -> Result<()> {
        let results = if self.runs {
            self.run_batch(remote, &questions.calls)?
        } else {
            let caller = remote.caller();
            let one = |call: &Call| {
                let args: Vec<u64> = call
                    .args
                    .iter()
                    .map(|arg| match arg {
                        Arg::Value(value) => *value,
                        Arg::Data(_) | Arg::Returned(_) => 0,
                    })
                    .collect();
                caller
                    .raw(&call.what, call.nr, &args)
                    .map(|value| value as u64)
            };
            questions.calls.iter().map(one).collect::<Result<_>>()?
        };
        let length = questions.next - self.answers().0;
        questions.written = self.read(self.answers(), length as usize)?;
        questions.returned = results.into_iter();
        Ok(())
    }

    fn run_batch(&self, remote: &mut Remote, calls: &[Call]) -> Result<Vec<u64>> {
        let frame = remote.frame();
        let frame = frame.as_bytes();
        // All but the room in its midst.
        let head = std::mem::offset_of!(Frame, room);
        let tail = std::mem::offset_of!(Frame, flags);
        self.write(layout::FRAME, &frame[..head])?;
        self.write(layout::FRAME + tail as u64, &frame[tail..])?;
        let start = self.at(layout::BATCHES);
        let batch = Batch::encode(calls.iter(), start, |_| {
            Err(Error::malformed("a question", "refers to another"))
        })?;
        self.write(layout::BATCHES, &batch.bytes)?;
        let end = start.offset(batch.entry_bytes() as u64);
        remote.batch(self.at(layout::CODE), self.at(layout::FRAME), (start, end))?;
        let entries = self.read(start, batch.entry_bytes())?;
        batch::results(self.pid, calls.iter(), &entries, batch.calls)
    }

    fn unmap(&self, remote: &mut Remote) -> Result<()> {
        if let Some(before) = &self.borrowed {
            return self.write(0, before);
        }
        let args = [self.start.0, self.size];
        remote
            .call("unmap scratch memory", libc::SYS_munmap, &args)
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_of_membarrier() {
        assert_eq!(membarrier_state(0), 0);
        assert_eq!(membarrier_state(-22), 0);
        assert_eq!(membarrier_state(1 << 4 | 1 << 8), 0b1100_0011);
    }
}
