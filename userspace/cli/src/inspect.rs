// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust inspect`: shows the contents of an image.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use crust_engine::{Family, Inspection, Process};

use crate::arguments::Source;
use crate::output::{bytes, count, print, print_json};

/// Show what an image holds; nothing is restored
///
/// Without an option, how much there is of each kind.
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
    #[arg(long)]
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
  crust inspect redis.img              how much there is of each kind
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
            tree(&mut text, &inspection.processes, None, 0);
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
    let mut text = format!(
        " image      {}, format {}\n size       {}, of it memory {}\n",
        inspection.image.display(),
        inspection.format,
        bytes(inspection.image_bytes),
        bytes(inspection.page_bytes),
    );
    let _ = match inspection.verified_bytes {
        None => Ok(()),
        Some(0) => writeln!(
            text,
            " verified   the records; memory has no checksums (crust dump --checksum)"
        ),
        Some(verified) => writeln!(text, " verified   {} of memory", bytes(verified)),
    };
    let mut kinds = BTreeMap::<_, u64>::new();
    for object in &inspection.objects {
        let kind = (object.family, &object.kind, !object.readable);
        *kinds.entry(kind).or_default() += 1;
    }
    let total = inspection.objects.len() as u64;
    let _ = writeln!(text, " holds      {}", count(total, "object", "objects"));
    for ((_, kind, unreadable), number) in kinds {
        let note = if unreadable {
            ", which this crust cannot read (--all says why)"
        } else {
            ""
        };
        let _ = writeln!(text, "   {number:>7}  {kind}{note}");
    }
    text
}

fn tree(text: &mut String, processes: &[Process], parent: Option<u32>, depth: usize) {
    for process in processes.iter().filter(|process| process.parent == parent) {
        let name = format!("{:indent$}{}", "", process.name, indent = 2 * depth);
        let _ = writeln!(text, " {name:<24} {}", process.what);
        // The root of an image has no parent, so only a damaged one could have a cycle.
        if depth < processes.len() {
            tree(text, processes, Some(process.number), depth + 1);
        }
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
