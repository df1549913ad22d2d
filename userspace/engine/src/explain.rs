// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `explain`: what of a running program can be carried over, what must be decided, and what cannot,
//! with reasons and remedies. It writes nothing, and stops the program for a moment only.

use crust_hooks::Backend;
use crust_kinds::capture::DumpOptions;
use crust_kinds::registry::Family;
use crust_model::Result;
use crust_model::refusal::{Refusal, Weight};
use serde::Serialize;

use crate::dump;

/// Whether a dump would succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It would succeed.
    Yes,
    /// It would succeed with options that say what is wanted.
    Decide,
    /// It would be refused.
    No,
}

/// The findings about a program.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The process id of the root of the tree.
    pub pid: i32,
    /// The name of the root (`/proc/PID/comm`).
    pub name: String,
    /// Whether a dump would succeed.
    pub verdict: Verdict,
    /// The process ids, the root first.
    pub pids: Vec<i32>,
    /// The number of threads of all processes.
    pub threads: u64,
    /// How long the program was stopped for this.
    pub frozen_ns: u64,
    /// Whether the module was asked.
    pub module: bool,
    /// The objects that are carried over.
    pub carried: Vec<Carried>,
    /// The objects that must be decided, that cannot be carried over, and that would be lost.
    pub refusals: Vec<Refusal>,
}

/// An object that is carried over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// The process that has it, as a number in the image, or the number of the object itself (open
    /// files).
    pub owner: u32,
    /// The index among the parts of its owner.
    pub part: u32,
    /// The family of its kind.
    pub family: Family,
    /// The name of its kind.
    pub kind: String,
    /// A one-line description.
    pub what: String,
}

/// Examines the tree whose root is `pid`.
///
/// # Errors
///
/// Fails if the process is gone, or may not be traced.
pub fn explain(pid: i32, options: &DumpOptions, backend: Backend) -> Result<Explanation> {
    let name = crust_proc::comm(pid).unwrap_or_default();
    let captured = dump::capture_only(pid, options, backend)?;
    let objects = captured.image.iter();
    let carried = objects
        .map(|(owner, object)| Carried {
            owner: owner.number,
            part: owner.part,
            family: Family::of(object.row().tag),
            kind: object.row().name.into(),
            what: object.describe(),
        })
        .collect();
    Ok(Explanation {
        pid,
        name,
        verdict: verdict(&captured.refusals),
        pids: captured.pids,
        threads: captured.threads,
        frozen_ns: captured.frozen_ns,
        module: captured.module,
        carried,
        refusals: captured.refusals,
    })
}

fn verdict(refusals: &[Refusal]) -> Verdict {
    match refusals.iter().map(|refusal| refusal.weight).max() {
        None | Some(Weight::Loss) => Verdict::Yes,
        Some(Weight::Decision) => Verdict::Decide,
        Some(Weight::Blocker) => Verdict::No,
    }
}

#[cfg(test)]
mod tests {
    use crust_model::refusal::Subject;

    use super::*;

    #[test]
    fn the_heaviest_refusal_decides() {
        let refusal = |weight| Refusal {
            weight,
            subject: Subject::Task(1),
            code: "code".into(),
            object: "fd 3".into(),
            why: "why".into(),
            remedy: "remedy".into(),
            counterpart: None,
        };
        assert_eq!(verdict(&[]), Verdict::Yes);
        let mut refusals = vec![refusal(Weight::Loss)];
        assert_eq!(verdict(&refusals), Verdict::Yes);
        refusals.insert(0, refusal(Weight::Decision));
        assert_eq!(verdict(&refusals), Verdict::Decide);
        refusals.insert(0, refusal(Weight::Blocker));
        assert_eq!(verdict(&refusals), Verdict::No);
    }
}
