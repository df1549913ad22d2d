// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust inspect`: what an image holds.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use crust_engine::inspect::{self, Inspection};
use crust_engine::kinds::Family;

use crate::arguments::Source;
use crate::output::{bytes, count, print, print_json};

/// Show what an image holds; nothing is restored
///
/// Without an option, how much there is of each kind.
#[derive(Debug, Args)]
pub struct Inspect {
    #[command(flatten)]
    source: Source,
    /// List the processes and threads with what belongs to them
    #[arg(long)]
    tree: bool,
    /// List the open files
    #[arg(long)]
    fds: bool,
    /// List the memory
    #[arg(long)]
    maps: bool,
    /// Compare the checksums of the contents of memory too, which reads the whole image
    #[arg(long)]
    verify: bool,
    /// Print all, or what was chosen, as JSON, with the state of each object
    #[arg(long)]
    pub json: bool,
}

impl Inspect {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut inspection = inspect::inspect(&self.source.path(), self.verify)?;
        let chosen = self.tree || self.fds || self.maps;
        if chosen {
            inspection.objects.retain(|object| match object.family {
                Family::Task => self.tree,
                Family::File => self.fds,
                Family::Mapping => self.maps,
                Family::Unknown => false,
            });
        }
        if self.json {
            print_json(&inspection)?;
        } else if chosen {
            print(&list(&inspection))?;
        } else {
            print(&summary(&inspection))?;
        }
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
    if let Some(verified) = inspection.verified_bytes {
        let _ = writeln!(text, " verified   {} of memory", bytes(verified));
    }
    let mut kinds = BTreeMap::<_, u64>::new();
    for object in &inspection.objects {
        *kinds.entry((object.family, &object.kind)).or_default() += 1;
    }
    let total = inspection.objects.len() as u64;
    let _ = writeln!(text, " holds      {}", count(total, "object", "objects"));
    for ((_, kind), number) in kinds {
        let _ = writeln!(text, "   {number:>7}  {kind}");
    }
    text
}

fn list(inspection: &Inspection) -> String {
    let mut text = String::new();
    for object in &inspection.objects {
        let place = format!("{}.{}", object.owner, object.part);
        // A description of several lines goes on under its first.
        let what = object.what.replace('\n', &format!("\n{:36}", ""));
        let _ = writeln!(text, " {place:<10} {:<22}  {what}", object.kind);
    }
    text
}
