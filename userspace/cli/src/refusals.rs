// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The table of objects that cannot be carried over: all of them at once, each with reason and
//! remedy.

use std::fmt::Write;

use crust_engine::{Refusal, Weight};

/// How many objects of the same kind are named one by one. `--json` names all.
const NAMED: usize = 6;

/// The refusals in words; `blockers` heads those that cannot be decided away.
pub fn table(refusals: &[Refusal], blockers: &str) -> String {
    let mut text = String::new();
    for (weight, title) in [
        (Weight::Decision, "to be decided:"),
        (Weight::Blocker, blockers),
        (Weight::Loss, "not carried over:"),
    ] {
        let mut group: Vec<&Refusal> = refusals
            .iter()
            .filter(|refusal| refusal.weight == weight)
            .collect();
        if group.is_empty() {
            continue;
        }
        // Objects with the same reason and remedy are listed together for each task.
        group.sort_by_key(|refusal| (refusal.task, &refusal.why, &refusal.remedy));
        let _ = writeln!(text, " {title}");
        for same in
            group.chunk_by(|a, b| (a.task, &a.why, &a.remedy) == (b.task, &b.why, &b.remedy))
        {
            entry(&mut text, same);
        }
    }
    text
}

fn entry(text: &mut String, same: &[&Refusal]) {
    let objects: Vec<&str> = same.iter().map(|refusal| refusal.object.as_str()).collect();
    let mut named = objects[..objects.len().min(NAMED)].join(", ");
    if objects.len() > NAMED {
        let _ = write!(named, " and {} more", objects.len() - NAMED);
    }
    let first = same[0];
    let task = first.task;
    // Refusals that belong to no task have the number 0.
    let place = if task > 0 {
        format!("{task:<7} {named}")
    } else {
        named
    };
    let _ = writeln!(text, "   {place:<20}  {}", first.why);
    if !first.remedy.is_empty() {
        let _ = writeln!(text, "   {:<20}  -> {}", "", first.remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(weight: Weight, task: i32, object: &str, why: &str, remedy: &str) -> Refusal {
        Refusal {
            weight,
            task,
            object: object.into(),
            why: why.into(),
            remedy: remedy.into(),
        }
    }

    #[test]
    fn grouped_by_weight_and_reason() {
        let mut refusals: Vec<_> = (10..18)
            .map(|fd| {
                let object = format!("fd {fd}");
                refusal(Weight::Blocker, 42, &object, "an inotify queue", "close it")
            })
            .collect();
        refusals.push(refusal(
            Weight::Decision,
            42,
            "fd 0",
            "the terminal of a shell job",
            "--shell-job",
        ));
        refusals.push(refusal(Weight::Loss, 43, "start time", "no module", ""));
        let shown = table(&refusals, "cannot be dumped:");
        let expected = " to be decided:
   42      fd 0          the terminal of a shell job
                         -> --shell-job
 cannot be dumped:
   42      fd 10, fd 11, fd 12, fd 13, fd 14, fd 15 and 2 more  an inotify queue
                         -> close it
 not carried over:
   43      start time    no module
";
        assert_eq!(shown, expected);
    }
}
