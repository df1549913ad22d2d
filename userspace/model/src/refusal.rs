// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Refusals: what crust declines to carry over, with the reason and the remedy. They are data, not
//! errors.
//!
//! Capture collects the refusals of *all* objects before anything is written, so that they are
//! shown together; `explain` shows the same list without stopping anything for long.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::words;

/// The remedy for what a stock kernel cannot do.
pub const USE_THE_MODULE: &str =
    "boot a kernel with the patches of crust, and load its module (kernel-patches/README.md)";

/// The severity of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// The object is carried over, but something that a program could notice is lost.
    Loss,
    /// There are two ways to carry the object over: an option decides.
    Decision,
    /// The object cannot be carried over.
    Blocker,
}

/// Who has an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "i32", from = "i32")]
pub enum Subject {
    /// The whole image.
    Image,
    /// No program, but this kernel, which lets none keep it.
    Kernel,
    /// A process, by its pid, or a thread, by its thread id.
    Task(i32),
}

impl From<i32> for Subject {
    /// Returns the task with a pid or thread id; 0 stands for none.
    fn from(id: i32) -> Self {
        match id {
            0 => Self::Image,
            id => Self::Task(id),
        }
    }
}

impl From<Subject> for i32 {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Image | Subject::Kernel => 0,
            Subject::Task(id) => id,
        }
    }
}

/// One object that cannot be carried over as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refusal {
    /// The severity: a [`Weight::Loss`] does not stop a dump.
    pub weight: Weight,
    /// Who has the object; in JSON a number, `task`.
    #[serde(rename = "task")]
    pub subject: Subject,
    /// What is in the way, for machines: a word that stays the same when the texts change.
    pub code: Cow<'static, str>,
    /// The object as the user knows it: `fd 9`, `memory 7f00..7f10`, `thread 17`.
    pub object: String,
    /// What the object is, and why it cannot be carried over.
    pub why: String,
    /// What the user can do about it.
    pub remedy: String,
    /// The other side of it outside of the tree, whose program `why` does not name yet.
    #[serde(skip)]
    pub counterpart: Option<Counterpart>,
}

/// The other side, outside of the tree, of an object that cannot be carried over. To find the
/// program that has it takes time, in which no tree has to stand still.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counterpart {
    /// A pipe or socket, by its link in `/proc/PID/fd`.
    Open {
        /// The link, as `pipe:[1234]`.
        link: String,
        /// The access mode of the descriptor, if that matters.
        access: Option<i32>,
    },
    /// A System V segment, by its id.
    Segment(i32),
}

impl Refusal {
    /// Returns whether every program loses this on this kernel: that is no news to a user who has
    /// run `crust check`, and must not hide what this very program loses.
    #[must_use]
    pub fn is_of_this_kernel(&self) -> bool {
        self.subject == Subject::Kernel
    }
}

/// The refusals of one capture, collected while it proceeds.
#[derive(Debug, Default)]
pub struct Refusals(Vec<Refusal>);

impl Refusals {
    /// Adds an object that cannot be carried over.
    pub fn block(
        &mut self,
        subject: impl Into<Subject>,
        code: &'static str,
        object: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.note(Weight::Blocker, subject, code, object, why, remedy);
    }

    /// Adds an object about which the user must decide.
    pub fn decide(
        &mut self,
        subject: impl Into<Subject>,
        code: &'static str,
        object: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.note(Weight::Decision, subject, code, object, why, remedy);
    }

    /// Adds something that will be lost.
    pub fn lose(
        &mut self,
        subject: impl Into<Subject>,
        code: &'static str,
        object: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.note(Weight::Loss, subject, code, object, why, remedy);
    }

    /// Adds something that every program loses on this kernel, whatever it does.
    pub fn lose_on_this_kernel(
        &mut self,
        code: &'static str,
        object: impl Into<String>,
        why: impl Into<String>,
    ) {
        let remedy = "`crust check` tells what this kernel lacks, and how to get it";
        self.lose(Subject::Kernel, code, object, why, remedy);
    }

    /// Adds a refusal.
    pub fn note(
        &mut self,
        weight: Weight,
        subject: impl Into<Subject>,
        code: impl Into<Cow<'static, str>>,
        object: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Refusal {
            weight,
            subject: subject.into(),
            code: code.into(),
            object: object.into(),
            why: why.into(),
            remedy: remedy.into(),
            counterpart: None,
        });
    }

    /// Adds a refusal as it is.
    pub fn add(&mut self, refusal: Refusal) {
        self.0.push(refusal);
    }

    /// Says what the other side is of the object that was added last.
    pub fn held_by(&mut self, counterpart: Counterpart) {
        if let Some(last) = self.0.last_mut() {
            last.counterpart = Some(counterpart);
        }
    }

    /// Returns all refusals.
    #[must_use]
    pub fn as_slice(&self) -> &[Refusal] {
        &self.0
    }

    /// Returns whether the refusals forbid a dump.
    #[must_use]
    pub fn forbid(&self) -> bool {
        self.0.iter().any(|refusal| refusal.weight > Weight::Loss)
    }

    /// Returns all refusals as a vector.
    #[must_use]
    pub fn into_vec(self) -> Vec<Refusal> {
        self.0
    }
}

/// Returns "1 object" or "3 objects", counting what is in the way, not what would merely be lost.
pub fn count(refusals: &[Refusal]) -> String {
    let in_the_way = |refusal: &&Refusal| refusal.weight > Weight::Loss;
    let number = refusals.iter().filter(in_the_way).count();
    words::count(number as u64, "object", "objects")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_in_json_names_its_task_and_its_code() {
        let mut refusals = Refusals::default();
        refusals.block(42, "pipe-outside", "fd 3", "why", "remedy");
        refusals.decide(Subject::Image, "terminal", "terminal", "why", "remedy");
        refusals.lose_on_this_kernel("start-time", "start time", "why");
        let json = serde_json::to_value(refusals.as_slice()).unwrap();
        let said: Vec<_> = json
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (one["task"].as_i64().unwrap(), one["code"].as_str().unwrap()))
            .collect();
        assert_eq!(
            said,
            [(42, "pipe-outside"), (0, "terminal"), (0, "start-time")]
        );
    }
}
