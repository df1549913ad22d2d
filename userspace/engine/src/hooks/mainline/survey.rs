// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a process and its threads answered.

use std::collections::HashMap;

use crust_sys::uapi;
use nix::errno::Errno;

use super::inquiry;
use super::questions::{self, Questions};
use crate::hooks::{Privy, TimerState};
use crate::remote::Room;
use crate::subject::{FrozenProcess, FrozenThread};
use crate::{Error, Result, procfs};

/// The answers of one process.
#[derive(Debug, Default)]
pub struct Survey {
    pub actions: Vec<uapi::Sigaction>,
    pub process: uapi::Process,
    pub privy: Privy,
    pub threads: HashMap<i32, uapi::Thread>,
    pub timers: HashMap<i32, TimerState>,
}

impl Survey {
    /// Asks everything about a process.
    pub fn of(process: &FrozenProcess) -> Result<Self> {
        let Some((leader, others)) = process.threads.split_first() else {
            return Err(Error::malformed(
                format!("process {}", process.pid),
                "a zombie cannot be asked",
            ));
        };
        let timers = timer_ids(process)?;
        if process.syscall_insn.is_none() {
            return Ok(Self::unknown(process, &timers));
        }
        let room = Room::of(process);
        let mut survey = Self::default();
        let mut questions = Questions::default();
        questions.of_process(&timers);
        questions.of_thread();
        if !inquiry::ask(process, leader, room.as_ref(), &mut questions)? {
            return Ok(Self::unknown(process, &timers));
        }
        survey.read_process(process, &timers, &mut questions)?;
        survey.read_thread(leader, &mut questions);
        for thread in others {
            let mut questions = Questions::default();
            questions.of_thread();
            if inquiry::ask(process, thread, room.as_ref(), &mut questions)? {
                survey.read_thread(thread, &mut questions);
            } else {
                survey.threads.insert(thread.tid, uapi::Thread::default());
            }
        }
        Ok(survey)
    }

    /// Of a process that may not be asked: its dump is refused for that reason.
    fn unknown(process: &FrozenProcess, timers: &[i32]) -> Self {
        let threads = process.threads.iter();
        Self {
            actions: vec![uapi::Sigaction::default(); uapi::CKPT_NSIG],
            process: uapi::Process::default(),
            privy: Privy::default(),
            threads: threads
                .map(|thread| (thread.tid, uapi::Thread::default()))
                .collect(),
            timers: timers
                .iter()
                .map(|&id| (id, TimerState::default()))
                .collect(),
        }
    }

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
        // A kernel before 6.3 does not have it.
        self.privy.write_execute = Some(questions.result().max(0) as u64);
        self.privy.keys = Some(allocated_keys(questions));
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

/// The keys with which memory could be protected if there was any at the address that was asked about.
fn allocated_keys(questions: &mut Questions) -> u16 {
    questions::keys()
        .filter(|_| questions.result() == -(Errno::ENOMEM as i64))
        .fold(0, |all, key| all | 1 << key)
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
