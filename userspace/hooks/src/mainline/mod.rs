// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The hooks of a stock kernel: the stopped target is made to ask about itself.
//!
//! All that is wanted of a tree is asked at once, before anything else is ([`round`]). Each thread makes its calls and
//! stands as before; should crust be killed meanwhile, it finds its way back by itself ([`remote`](crust_tracee::remote)).

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

use self::answers::Survey;
use self::outsider::Strangers;
use crate::{Abilities, Hidden, Hooks, Privy, TimerState};

/// What a stock kernel can be asked.
#[derive(Debug, Default)]
pub struct Mainline {
    surveys: RefCell<HashMap<i32, Survey>>,
    strangers: RefCell<Strangers>,
}

impl Mainline {
    fn ask<T>(
        &self,
        process: &FrozenProcess,
        answer: impl FnOnce(&Survey) -> Option<T>,
    ) -> Result<T> {
        let surveys = self.surveys.borrow();
        surveys.get(&process.pid).and_then(answer).ok_or_else(|| {
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

    fn prepare(&self, tree: &[FrozenProcess], texts: &[Texts]) -> Result<()> {
        let strangers = &mut self.strangers.borrow_mut();
        *self.surveys.borrow_mut() = round::survey(tree, texts, strangers)?;
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

    fn hidden(&self, process: &FrozenProcess) -> Result<Hidden> {
        self.ask(process, |survey| Some(survey.hidden))
    }

    fn privy(&self, process: &FrozenProcess) -> Result<Privy> {
        self.ask(process, |survey| Some(survey.privy))
    }

    fn posix_timers(&self, process: &FrozenProcess, ids: &[i32]) -> Result<Vec<TimerState>> {
        self.ask(process, |survey| {
            ids.iter()
                .map(|id| survey.timers.get(id).copied())
                .collect()
        })
    }
}
