// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The table of objects that cannot be carried over: all of them at once, each with reason and
//! remedy.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use crust_engine::words::{count, printable_lines};
use crust_engine::{Place, Refusal, Weight};

/// How many objects of the same kind, or tasks with the same object, are named one by one. `--json`
/// names all.
const NAMED: usize = 6;

/// Where the names of tasks are found.
#[derive(Debug)]
pub enum Names {
    /// The tasks exist, so `/proc` has their names.
    Machine,
    /// The tasks are those of an image, by thread id. Others on this machine may have the same ids.
    Image(BTreeMap<i32, String>),
}

impl Names {
    /// Returns the names in an image; none if it cannot be read again, as from a stream.
    pub fn of_image(image: &Place) -> Self {
        Self::Image(crust_engine::names(image).unwrap_or_default())
    }

    /// Returns a task as users know it: its id and its name.
    fn of(&self, task: i32) -> String {
        let name = match self {
            Self::Machine => crust_engine::comm(task),
            Self::Image(names) => names.get(&task).cloned(),
        };
        match name {
            Some(name) => format!("{task} ({name})"),
            None => task.to_string(),
        }
    }
}

/// The refusals in words; `blockers` heads those that cannot be decided away.
pub fn table(refusals: &[Refusal], blockers: &str, names: &Names) -> String {
    let mut text = String::new();
    for (weight, title) in [
        (Weight::Decision, "to be decided:"),
        (Weight::Blocker, blockers),
        (Weight::Loss, "not carried over:"),
    ] {
        let group = refusals
            .iter()
            .filter(|refusal| refusal.weight == weight && !refusal.is_of_this_kernel());
        let entries = entries(group.collect());
        if entries.is_empty() {
            continue;
        }
        let _ = writeln!(text, " {title}");
        for entry in entries {
            entry.write(&mut text, names);
        }
    }
    text.push_str(&of_this_kernel(refusals));
    printable_lines(&text)
}

/// Returns one line for all that every program loses on this kernel.
fn of_this_kernel(refusals: &[Refusal]) -> String {
    let lost: Vec<&str> = refusals
        .iter()
        .filter(|refusal| refusal.is_of_this_kernel())
        .map(|refusal| refusal.object.as_str())
        .collect();
    if lost.is_empty() {
        return String::new();
    }
    format!(
        " lost by every program on this kernel: {} ({}); `crust check` tells more\n",
        count(lost.len() as u64, "property", "properties"),
        lost.join(", ")
    )
}

/// Objects with the same reason and remedy, which each of some tasks has.
struct Entry<'a> {
    tasks: Vec<i32>,
    objects: Vec<&'a str>,
    first: &'a Refusal,
}

/// Joins the objects of each task, and then the tasks, that have the same reason and remedy.
fn entries(mut group: Vec<&Refusal>) -> Vec<Entry<'_>> {
    group.sort_by_key(|one| (one.subject, &one.why, &one.remedy, by_number(&one.object)));
    let mut entries: Vec<Entry> = Vec::new();
    let mut known = HashMap::new();
    for same in
        group.chunk_by(|a, b| (a.subject, &a.why, &a.remedy) == (b.subject, &b.why, &b.remedy))
    {
        let first = same[0];
        let objects: Vec<&str> = same.iter().map(|one| one.object.as_str()).collect();
        let number = *known
            .entry((objects.clone(), &first.why, &first.remedy))
            .or_insert(entries.len());
        if number == entries.len() {
            entries.push(Entry {
                tasks: Vec::new(),
                objects,
                first,
            });
        }
        entries[number].tasks.push(i32::from(first.subject));
    }
    entries
}

/// Returns a key by which `fd 3` comes before `fd 251`.
fn by_number(object: &str) -> (&str, u64) {
    let kind = object.trim_end_matches(|character: char| character.is_ascii_digit());
    (kind, object[kind.len()..].parse().unwrap_or(0))
}

impl Entry<'_> {
    fn write(&self, text: &mut String, names: &Names) {
        let objects = some(&self.objects, |object| (*object).to_owned());
        // Refusals that belong to no task have the number 0.
        let tasks = match self.tasks[..] {
            [0] => String::new(),
            _ => some(&self.tasks, |&task| names.of(task)) + "  ",
        };
        let _ = writeln!(text, "   {tasks}{objects}: {}", self.first.why);
        if !self.first.remedy.is_empty() {
            let _ = writeln!(text, "      -> {}", self.first.remedy);
        }
    }
}

/// Joins the first few items, and tells how many more there are.
fn some<T>(items: &[T], name: impl Fn(&T) -> String) -> String {
    let named: Vec<String> = items.iter().take(NAMED).map(name).collect();
    let mut text = named.join(", ");
    if items.len() > NAMED {
        let _ = write!(text, " and {} more", items.len() - NAMED);
    }
    text
}

#[cfg(test)]
mod tests {
    use crust_engine::Subject;

    use super::*;

    fn refusal(weight: Weight, task: i32, object: &str, why: &str, remedy: &str) -> Refusal {
        Refusal {
            weight,
            subject: match weight {
                Weight::Loss if task == 0 => Subject::Kernel,
                _ => task.into(),
            },
            code: "code".into(),
            object: object.into(),
            why: why.into(),
            remedy: remedy.into(),
            counterpart: None,
        }
    }

    fn names() -> Names {
        Names::Image(BTreeMap::from([(42, "bash".into())]))
    }

    #[test]
    fn grouped_by_weight_and_reason() {
        let mut refusals: Vec<_> = (3..11)
            .rev()
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
        refusals.push(refusal(Weight::Loss, 43, "timer slack", "no module", ""));
        let shown = table(&refusals, "cannot be dumped:", &names());
        let expected = " to be decided:
   42 (bash)  fd 0: the terminal of a shell job
      -> --shell-job
 cannot be dumped:
   42 (bash)  fd 3, fd 4, fd 5, fd 6, fd 7, fd 8 and 2 more: an inotify queue
      -> close it
 not carried over:
   43  timer slack: no module
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_same_of_many_tasks_is_one_line() {
        let refusals: Vec<_> = (41..50)
            .map(|task| refusal(Weight::Loss, task, "cgroup", "another one", "restore there"))
            .collect();
        let shown = table(&refusals, "", &names());
        let expected = " not carried over:
   41, 42 (bash), 43, 44, 45, 46 and 3 more  cgroup: another one
      -> restore there
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_every_program_loses_is_one_line_behind_the_rest() {
        let refusals = [
            refusal(Weight::Loss, 0, "start time", "it is new", "crust check"),
            refusal(Weight::Loss, 42, "cgroup", "another one", ""),
            refusal(Weight::Loss, 0, "CPU time", "it is new", "crust check"),
            refusal(Weight::Blocker, 0, "huge pages", "too few", "more"),
        ];
        let shown = table(&refusals, "in the way:", &names());
        let expected = " in the way:
   huge pages: too few
      -> more
 not carried over:
   42 (bash)  cgroup: another one
 lost by every program on this kernel: 2 properties (start time, CPU time); `crust check` tells more
";
        assert_eq!(shown, expected);
    }
}
