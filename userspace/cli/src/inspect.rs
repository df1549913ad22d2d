// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust inspect`: shows the contents of an image.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use crust_engine::words::count;
use crust_engine::{Family, Inspection, Process};

use crate::arguments::Source;
use crate::output::{bytes, date, print, print_json};

/// Show what an image holds; nothing is restored
///
/// Without an option, which program it is, when and where it was dumped, and how large it is.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Inspect {
    #[command(flatten)]
    source: Source,
    /// Show the tree of processes
    #[arg(long)]
    tree: bool,
    /// List the open files of each process
    #[arg(long)]
    fds: bool,
    /// List the memory of each process
    #[arg(long)]
    maps: bool,
    /// List all objects, one by one
    #[arg(short, long)]
    all: bool,
    /// Compare the checksums of the contents of memory too, which reads the whole image
    #[arg(long)]
    verify: bool,
    /// Print all of it as JSON, with the state of each object
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  crust inspect redis.img              which program it is, and when and where it was dumped
  crust inspect redis.img --tree --fds the processes, and their open files
  crust inspect redis.img --verify     read all of it, and compare all checksums";

impl Inspect {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let inspection = crust_engine::inspect(&self.source.place()?, self.verify)?;
        if self.json {
            print_json(&inspection)?;
            return Ok(ExitCode::SUCCESS);
        }
        let mut text = String::new();
        if self.tree {
            tree(&mut text, &inspection.processes);
        }
        if self.fds {
            descriptors(&mut text, &inspection.processes);
        }
        if self.maps {
            objects(&mut text, &inspection, Some(Family::Mapping));
        }
        if self.all {
            objects(&mut text, &inspection, None);
        }
        if text.is_empty() || self.verify {
            text.insert_str(0, &summary(&inspection));
        }
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(inspection: &Inspection) -> String {
    let mut text = String::new();
    let mut line = |name: &str, what: &str| {
        let _ = writeln!(text, " {name:<10} {what}");
    };
    if let Some(root) = inspection.processes.first() {
        line("program", &format!("{} (pid {})", root.name, root.pid));
    }
    line("processes", &processes(inspection));
    if let Some(time) = inspection.dumped_at_s {
        line("dumped", &date(time));
    }
    if let (Some(host), Some(kernel)) = (&inspection.host, &inspection.kernel) {
        line("host", &format!("{host}, Linux {kernel}"));
    }
    let of_memory = bytes(inspection.page_bytes);
    let size = bytes(inspection.image_bytes);
    line("size", &format!("{size}, {of_memory} of it memory"));
    let image = inspection.image.display();
    line("image", &format!("{image}, format {}", inspection.format));
    if let Some(verified) = inspection.verified_bytes {
        let what = match verified {
            0 => "the records; memory has no checksums (crust dump --checksum)".into(),
            verified => format!("{} of memory", bytes(verified)),
        };
        line("verified", &what);
    }
    line("holds", &holds(inspection));
    text
}

/// Returns how many processes and threads there are.
fn processes(inspection: &Inspection) -> String {
    let processes = &inspection.processes;
    let threads: usize = processes.iter().map(|one| one.threads.len()).sum();
    format!(
        "{}, {}",
        count(processes.len() as u64, "process", "processes"),
        count(threads as u64, "thread", "threads")
    )
}

/// Returns how many objects there are, of how many kinds, and how many cannot be read.
fn holds(inspection: &Inspection) -> String {
    let objects = &inspection.objects;
    let kinds: BTreeSet<_> = objects.iter().map(|one| (one.family, &one.kind)).collect();
    let unreadable = objects.iter().filter(|one| !one.readable).count();
    let note = match unreadable {
        0 => String::new(),
        number => format!("; this crust cannot read {number} of them"),
    };
    format!(
        "{} of {}{note} (--all lists them)",
        count(objects.len() as u64, "object", "objects"),
        count(kinds.len() as u64, "kind", "kinds"),
    )
}

fn tree(text: &mut String, processes: &[Process]) {
    let mut children: BTreeMap<Option<u32>, Vec<&Process>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    // A tree may be deeper than the stack of crust allows.
    let mut left: Vec<(&Process, usize)> = Vec::new();
    let mut next = |parent: Option<u32>, depth, left: &mut Vec<_>| {
        let children = children.remove(&parent).unwrap_or_default();
        left.extend(children.into_iter().rev().map(|child| (child, depth)));
    };
    next(None, 0, &mut left);
    while let Some((process, depth)) = left.pop() {
        let name = format!("{:indent$}{}", "", process.name, indent = 2 * depth);
        let _ = writeln!(text, " {name:<24} {}", process.what);
        next(Some(process.number), depth + 1, &mut left);
    }
}

fn descriptors(text: &mut String, processes: &[Process]) {
    for process in processes {
        let _ = writeln!(text, " {} {}", process.pid, process.name);
        for one in &process.descriptors {
            let cloexec = if one.cloexec { "close on exec" } else { "" };
            let _ = writeln!(
                text,
                "   {:>5}  #{:<5} {:<22} {cloexec:<14} {}",
                one.fd, one.description, one.kind, one.what
            );
        }
    }
}

fn objects(text: &mut String, inspection: &Inspection, family: Option<Family>) {
    for object in &inspection.objects {
        if family.is_some_and(|family| family != object.family) {
            continue;
        }
        let place = format!("{}.{}", object.owner, object.part);
        // Further lines of a description are indented below its first one.
        let what = object.what.replace('\n', &format!("\n{:41}", ""));
        let _ = writeln!(text, " {place:<10} {:<28} {what}", object.kind);
    }
}
