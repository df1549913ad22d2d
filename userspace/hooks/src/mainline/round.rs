// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Querying a whole tree: several processes at the same time, and in each as many threads as there
//! is room for.

use std::collections::HashMap;

use crust_model::{Error, Result};
use crust_sys::RemoteAddr;
use crust_tracee::frozen_process::{FrozenProcess, FrozenThread};
use crust_tracee::remote::CodeCave;
use crust_tracee::texts::{Texts, ThreadText};

use super::answers::{self, ProcessAnswers, timer_ids};
use super::outsider::Outsiders;
use super::query_set::QuerySet;
use super::thread_query::{self, ThreadQuery};

/// The number of processes that are queried at the same time.
const TOGETHER: usize = 32;

/// The threads of a process that are yet to be queried.
struct Queue<'a> {
    process: &'a FrozenProcess,
    texts: &'a Texts,
    /// The process that it may inspect, unless it is in a Landlock domain.
    outsider: Option<i32>,
    next: usize,
    /// The addresses of memory borrowed from the threads that are being queried, by slot.
    lending: Vec<Option<RemoteAddr>>,
    survey: ProcessAnswers,
}

/// A thread that is being queried.
struct Asked<'a> {
    /// The index of its process among those that are queried together.
    process: usize,
    slot: usize,
    thread: &'a FrozenThread,
    query: ThreadQuery<'a>,
}

/// Queries all processes of a tree; returns the answers by process id.
///
/// # Errors
///
/// [`Error::Gone`] if a thread has died. All others are stopped as before.
pub fn survey(
    tree: &[FrozenProcess],
    texts: &[Texts],
    outsiders: &mut Outsiders,
) -> Result<HashMap<i32, ProcessAnswers>> {
    let mut answers = HashMap::new();
    let living = tree.iter().zip(texts);
    let living: Vec<_> = living
        .filter(|(process, _)| process.leader().is_some())
        .collect();
    for together in living.chunks(TOGETHER) {
        let caves: Vec<Option<CodeCave>> = together
            .iter()
            .map(|(process, _)| CodeCave::of(process))
            .collect();
        let mut queues = Vec::with_capacity(together.len());
        for &(process, texts) in together {
            let outsider = match texts.1.first() {
                Some(leader) => outsiders.to(process, &leader.status)?,
                None => None,
            };
            queues.push(Queue {
                process,
                texts,
                outsider,
                next: 0,
                lending: Vec::new(),
                survey: ProcessAnswers::default(),
            });
        }
        ask(&mut queues, &caves)?;
        answers.extend(
            queues
                .into_iter()
                .map(|queue| (queue.process.pid, queue.survey)),
        );
    }
    Ok(answers)
}

/// Queries all threads. After an error, no more threads are started, and those that are being
/// queried are finished.
fn ask<'a>(queues: &mut [Queue<'a>], caves: &'a [Option<CodeCave>]) -> Result<()> {
    let mut failed: Option<Error> = None;
    let mut asked = Vec::new();
    for number in 0..queues.len() {
        // The first thread answers for its process, alone: a process has one list of memory to unmap.
        match begin(queues, caves, number, 0) {
            Ok(begun) => asked.extend(begun),
            Err(error) => {
                failed.get_or_insert(error);
            }
        }
    }
    while !asked.is_empty() {
        let mut still = Vec::with_capacity(asked.len());
        for mut one in asked {
            match one.query.advance() {
                Ok(true) => still.push(one),
                Ok(false) => {
                    let (number, slot) = (one.process, one.slot);
                    let was_first = queues[number].next == 1;
                    let mut result = queues[number].take(one);
                    let free = match &caves[number] {
                        Some(room) if was_first => 0..room.slots(),
                        _ => slot..slot + 1,
                    };
                    for slot in free {
                        if failed.is_some() || result.is_err() {
                            break;
                        }
                        result =
                            begin(queues, caves, number, slot).map(|begun| still.extend(begun));
                    }
                    if let Err(error) = result {
                        failed.get_or_insert(error);
                    }
                }
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        asked = still;
    }
    failed.map_or(Ok(()), Err)
}

/// Starts the next thread of a process that may be queried, if there is one.
fn begin<'a>(
    queues: &mut [Queue<'a>],
    caves: &'a [Option<CodeCave>],
    number: usize,
    slot: usize,
) -> Result<Option<Asked<'a>>> {
    let queue = &mut queues[number];
    while let Some((thread, text)) = queue.pop() {
        let first = queue.next == 1;
        if !thread_query::is_allowed(queue.process, &text.status) {
            if first {
                // The process cannot be queried either.
                queue.survey = ProcessAnswers::unknown(queue.process, queue.texts);
                queue.next = queue.process.threads.len();
                return Ok(None);
            }
            queue.survey.silent(thread);
            continue;
        }
        if !queue.lends(slot, thread_query::place(thread)) {
            // It will be its turn when the other thread has answered.
            queue.next -= 1;
            return Ok(None);
        }
        let mut queries = QuerySet::default();
        if first {
            queries.of_process(timer_ids(queue.texts));
            queries.of_what_is_hidden(queue.outsider);
        }
        let room = caves[number].as_ref().map(|room| room.slot(slot));
        let query = ThreadQuery::begin(queue.process, thread, &text.status, room, queries)?;
        return Ok(Some(Asked {
            process: number,
            slot,
            thread,
            query,
        }));
    }
    Ok(None)
}

impl<'a> Queue<'a> {
    fn pop(&mut self) -> Option<(&'a FrozenThread, &'a ThreadText)> {
        let thread = self.process.threads.get(self.next)?;
        let text = self.texts.1.get(self.next)?;
        self.next += 1;
        Some((thread, text))
    }

    /// Records the address of memory borrowed from a thread, unless it is close to that of another
    /// one.
    fn lends(&mut self, slot: usize, place: RemoteAddr) -> bool {
        let near = |other: &RemoteAddr| place.0.abs_diff(other.0) < 4096;
        if self.lending.iter().flatten().any(near) {
            return false;
        }
        let slots = self.lending.len().max(slot + 1);
        self.lending.resize(slots, None);
        self.lending[slot] = Some(place);
        true
    }

    /// Takes the answers of a thread.
    fn take(&mut self, mut asked: Asked<'_>) -> Result<()> {
        self.lending[asked.slot] = None;
        let query = &mut asked.query;
        self.survey.read_thread(asked.thread, &query.answers);
        if query.queries.calls() > 0 {
            let queries = &mut query.queries;
            let now = query.answered;
            self.survey
                .read_process(self.process, self.texts, now, queries)?;
            self.survey.hidden = answers::hidden(queries);
        }
        Ok(())
    }
}
