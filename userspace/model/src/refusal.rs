// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Refusals: what crust declines to carry over, with the reason and the remedy. They are data, not
//! errors.
//!
//! Capture collects the refusals of *all* objects before anything is written, so that they are
//! shown together; `explain` shows the same list without stopping anything for long.

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

/// One object that cannot be carried over as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refusal {
    /// The severity: a [`Weight::Loss`] does not stop a dump.
    pub weight: Weight,
    /// The thread id of the task that has the object. 0 if it belongs to none: an object of the
    /// whole image, or, for a loss, something that this kernel lets no program keep.
    pub task: i32,
    /// The object as the user knows it: `fd 9`, `memory 7f00..7f10`, `thread 17`.
    pub object: String,
    /// What the object is, and why it cannot be carried over.
    pub why: String,
    /// What the user can do about it.
    pub remedy: String,
}

impl Refusal {
    /// Returns whether every program loses this on this kernel: that is no news to a user who has
    /// run `crust check`, and must not hide what this very program loses.
    #[must_use]
    pub fn is_of_this_kernel(&self) -> bool {
        self.weight == Weight::Loss && self.task == 0
    }
}

/// The refusals of one capture, collected while it proceeds.
#[derive(Debug, Default)]
pub struct Refusals(Vec<Refusal>);

impl Refusals {
    /// Adds an object that cannot be carried over.
    pub fn block(
        &mut self,
        task: i32,
        object: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.note(Weight::Blocker, task, object, why, remedy);
    }

    /// Adds an object about which the user must decide.
    pub fn decide(
        &mut self,
        task: i32,
        object: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.note(Weight::Decision, task, object, why, remedy);
    }

    /// Adds something that will be lost.
    pub fn lose(
        &mut self,
        task: i32,
        object: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.note(Weight::Loss, task, object, why, remedy);
    }

    /// Adds something that every program loses on this kernel, whatever it does.
    pub fn lose_on_this_kernel(&mut self, object: impl Into<String>, why: impl Into<String>) {
        let remedy = "`crust check` tells what this kernel lacks, and how to get it";
        self.note(Weight::Loss, 0, object, why, remedy);
    }

    /// Adds a refusal.
    pub fn note(
        &mut self,
        weight: Weight,
        task: i32,
        object: impl Into<String>,
        why: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Refusal {
            weight,
            task,
            object: object.into(),
            why: why.into(),
            remedy: remedy.into(),
        });
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
