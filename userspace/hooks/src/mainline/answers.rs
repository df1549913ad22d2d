// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The answers of a process and its threads.

use std::collections::HashMap;

use crust_model::{Error, Result};
use crust_sys::errno::ERESTART_RESTARTBLOCK;
use crust_sys::stub::Answers;
use crust_sys::{uapi, word};
use crust_tracee::frozen_process::{FrozenProcess, FrozenThread};
use crust_tracee::texts::Texts;
use linux_raw_sys::general::{SS_AUTODISARM, SS_DISABLE};
use linux_raw_sys::prctl::PR_TSC_SIGSEGV;
use nix::errno::Errno;

use super::query_set::{self, QuerySet};
use crate::{SelfOnlyMemory, SelfOnlyState, TimerState};

/// The answers of one process.
#[derive(Debug, Default)]
pub struct ProcessAnswers {
    pub actions: Vec<uapi::Sigaction>,
    pub process: uapi::Process,
    pub self_only_memory: SelfOnlyMemory,
    pub threads: HashMap<i32, uapi::Thread>,
    /// `None` for a thread that could not be asked.
    pub personalities: HashMap<i32, Option<u32>>,
    pub timers: HashMap<i32, TimerState>,
    pub hidden: SelfOnlyState,
}

impl ProcessAnswers {
    /// Returns placeholders for a process that must not be asked: its dump is refused for that
    /// reason.
    pub fn unknown(process: &FrozenProcess, texts: &Texts) -> Self {
        let mut survey = Self {
            actions: vec![uapi::Sigaction::default(); uapi::CKPT_NSIG],
            timers: timer_ids(texts)
                .map(|id| (id, TimerState::default()))
                .collect(),
            ..Self::default()
        };
        for thread in &process.threads {
            survey.silent(thread);
        }
        survey
    }

    /// Adds placeholders for a thread that must not be asked.
    pub fn silent(&mut self, thread: &FrozenThread) {
        self.threads.insert(thread.tid, uapi::Thread::default());
        self.personalities.insert(thread.tid, None);
    }

    /// Reads the answers of a process to [`QuerySet::of_process`].
    pub fn read_process(
        &mut self,
        process: &FrozenProcess,
        texts: &Texts,
        now: [u64; 2],
        queries: &mut QuerySet,
    ) -> Result<()> {
        for _ in 0..uapi::CKPT_NSIG {
            let [handler, flags, restorer, mask] = queries.answer().unwrap_or_default();
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
            let [s, us, value_s, value_us] = queries.answer().unwrap_or_default();
            itimer.interval = micro(s, us);
            itimer.value = micro(value_s, value_us);
        }
        answer.brk = word::from_long(queries.result());
        if word::to_uint(queries.answer().unwrap_or_default()[0]) != 0 {
            answer.state |= uapi::process_state::CHILD_SUBREAPER;
        }
        // 1: disabled; 3: except where advised (PR_THP_DISABLE_EXCEPT_ADVISED).
        match queries.result() {
            1 => answer.state |= uapi::process_state::THP_DISABLE,
            3 => answer.state |= uapi::process_state::THP_DISABLE_EXCEPT_ADVISED,
            _ => {}
        }
        // A kernel before 6.3 does not know the query.
        answer.membarrier = u32::try_from(queries.result()).unwrap_or(0);
        // A kernel before 6.3 does not have it.
        self.self_only_memory.write_execute = Some(u64::try_from(queries.result()).unwrap_or(0));
        self.self_only_memory.keys = Some(allocated_keys(queries));
        for id in timer_ids(texts) {
            let written = queries.answer();
            let overrun = queries.result();
            let [s, ns, value_s, value_ns] = written.ok_or_else(|| {
                Error::malformed(
                    format!("timer {id} of process {}", process.pid),
                    "it cannot be read",
                )
            })?;
            let state = TimerState {
                value: value_s * 1_000_000_000 + value_ns,
                interval: s * 1_000_000_000 + ns,
                overrun: u32::try_from(overrun).unwrap_or(0),
                now,
            };
            self.timers.insert(id, state);
        }
        Ok(())
    }

    /// Reads the answers of a thread.
    pub fn read_thread(&mut self, thread: &FrozenThread, answers: &Answers) {
        let [sp, flags, size] = answers.alternate_stack;
        let mut answer = uapi::Thread {
            clear_child_tid: answers.tid_address,
            sas_sp: sp,
            // SS_ONSTACK is computed from the stack pointer, and is not part of the state.
            sas_flags: word::to_uint(flags) & (SS_DISABLE | SS_AUTODISARM),
            sas_size: size,
            pdeath_signal: word::to_int(answers.death_signal),
            securebits: word::to_uint(word::from_long(answers.securebits)),
            timer_slack: word::from_long(answers.timer_slack),
            default_timer_slack: word::from_long(answers.timer_slack),
            ..uapi::Thread::default()
        };
        let registers = &thread.registers;
        if word::to_long(registers.rax) == -ERESTART_RESTARTBLOCK && registers.orig_rax != u64::MAX
        {
            answer.restart.kind = uapi::restart::OTHER;
        }
        self.threads.insert(thread.tid, answer);
        let personality = Some(word::to_uint(word::from_long(answers.personality)));
        self.personalities.insert(thread.tid, personality);
    }
}

/// Reads the answers to [`QuerySet::of_what_is_hidden`].
pub fn hidden(queries: &mut QuerySet) -> SelfOnlyState {
    /// Every program has the permission for the tile configuration (17).
    const XTILE_DATA: u64 = 1 << 18;
    let [tsc, ..] = queries.answer().unwrap_or_default();
    let cpuid = queries.result();
    let [extended, ..] = queries.answer().unwrap_or_default();
    let (segments, _) = queries.result_and_answer();
    let keyrings = [queries.result(), queries.result()];
    let uring = queries.result();
    SelfOnlyState {
        landlock: queries.result() == -(Errno::EPERM as i64),
        no_tsc: word::to_uint(tsc) == PR_TSC_SIGSEGV,
        no_cpuid: cpuid == 0,
        tiles: extended & XTILE_DATA != 0,
        segments: segments > 0,
        keyring: keyrings.iter().any(|&number| number > 0),
        uring_restrictions: uring == -(Errno::EPERM as i64),
    }
}

/// Returns the ids in `/proc/PID/timers`.
pub fn timer_ids((of_process, _): &Texts) -> impl Iterator<Item = i32> {
    let text = of_process.as_ref().map_or("", |text| &text.timers);
    text.lines()
        .filter_map(|line| line.strip_prefix("ID: ")?.trim().parse().ok())
}

/// Returns the keys for which the only error was that there is no memory at the given address.
fn allocated_keys(queries: &mut QuerySet) -> u16 {
    query_set::keys()
        .filter(|_| queries.result() == -(Errno::ENOMEM as i64))
        .fold(0, |all, key| all | 1 << key)
}
