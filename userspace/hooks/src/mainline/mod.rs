// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The hooks of a stock kernel: the stopped target is made to query itself.
//!
//! All queries about a tree are made at once, before anything else ([`round`]). Each thread makes
//! its calls and is then stopped as before; if crust is killed meanwhile, the thread finds its way
//! back by itself ([`remote`](crust_tracee::remote)).

mod answers;
mod outsider;
mod query_set;
mod round;
mod thread_query;

use std::cell::RefCell;
use std::collections::HashMap;

use crust_model::{Error, Result};
use crust_sys::uapi;
use crust_tracee::frozen_process::{FrozenProcess, FrozenThread};
use crust_tracee::texts::Texts;

use self::answers::ProcessAnswers;
use self::outsider::Outsiders;
use crate::{Hooks, KernelFeatures, SelfOnlyMemory, SelfOnlyState, TimerState};

/// The hooks of a stock kernel.
#[derive(Debug, Default)]
pub struct Mainline {
    answers: RefCell<HashMap<i32, ProcessAnswers>>,
    outsiders: RefCell<Outsiders>,
}

impl Mainline {
    fn ask<T>(
        &self,
        process: &FrozenProcess,
        answer: impl FnOnce(&ProcessAnswers) -> Option<T>,
    ) -> Result<T> {
        let answers = self.answers.borrow();
        answers.get(&process.pid).and_then(answer).ok_or_else(|| {
            Error::malformed(
                format!("process {}", process.pid),
                "asked for what it does not have",
            )
        })
    }
}

impl Hooks for Mainline {
    fn features(&self) -> KernelFeatures {
        KernelFeatures::default()
    }

    fn prepare(&self, tree: &[FrozenProcess], texts: &[Texts]) -> Result<()> {
        let outsiders = &mut self.outsiders.borrow_mut();
        *self.answers.borrow_mut() = round::survey(tree, texts, outsiders)?;
        Ok(())
    }

    fn personality(&self, process: &FrozenProcess, thread: &FrozenThread) -> Result<Option<u32>> {
        self.ask(process, |survey| {
            survey.personalities.get(&thread.tid).copied()
        })
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

    fn hidden(&self, process: &FrozenProcess) -> Result<SelfOnlyState> {
        self.ask(process, |survey| Some(survey.hidden))
    }

    fn self_only_memory(&self, process: &FrozenProcess) -> Result<SelfOnlyMemory> {
        self.ask(process, |survey| Some(survey.self_only_memory))
    }

    fn posix_timers(&self, process: &FrozenProcess, ids: &[i32]) -> Result<Vec<TimerState>> {
        self.ask(process, |survey| {
            ids.iter()
                .map(|id| survey.timers.get(id).copied())
                .collect()
        })
    }
}
