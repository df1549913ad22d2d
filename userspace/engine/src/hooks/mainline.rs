// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The hooks of a stock kernel: the stopped target is made to ask about itself.
//!
//! All that is wanted of a process is asked at once, the first time that anything is. One thread after
//! the other makes its calls and stands as before; should crust be killed meanwhile, it finds its way
//! back by itself ([`remote`](crate::remote)).

mod inquiry;
mod questions;
mod survey;

use std::cell::RefCell;
use std::collections::HashMap;

use crust_sys::uapi;

use self::survey::Survey;
use super::{Abilities, Hooks, Privy, TimerState};
use crate::object::task::usage::Usage;
use crate::subject::{FrozenProcess, FrozenThread};
use crate::{Error, Result};

/// What a stock kernel can be asked.
#[derive(Debug, Default)]
pub struct Mainline {
    surveys: RefCell<HashMap<i32, Survey>>,
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
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(Survey::of(process)?),
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

    fn usage(&self, process: &FrozenProcess) -> Result<Usage> {
        Usage::of(process)
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

    fn socket(
        &self,
        _: &FrozenProcess,
        _: i32,
    ) -> Result<Option<(uapi::Socket, Vec<uapi::Pending>)>> {
        Ok(None)
    }
}
