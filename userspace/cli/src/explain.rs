// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust explain`: what of a running program can be carried over.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use crust_engine::words::count;
use crust_engine::{DumpOptions, Explanation, Verdict};

use crate::arguments::{Common, Root, size};
use crate::failure::REFUSED;
use crate::output::{print, print_json, time};
use crate::refusals::{self, Names};

/// Show what of a running program can be carried over
///
/// What must be decided, and what cannot be carried over, comes with the reason and what can
/// be done about it. The program is stopped for a moment; nothing is written or changed. The
/// exit status is 3 if a dump would be refused.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
#[command(override_usage = "crust explain [OPTIONS] PID\n       crust explain [OPTIONS] -t PID")]
pub struct Explain {
    #[command(flatten)]
    root: Root,
    /// As it would be with dump --shell-job
    #[arg(short = 'j', long)]
    shell_job: bool,
    /// As it would be with dump --ghost-limit
    #[arg(long, value_name = "BYTES", value_parser = size)]
    ghost_limit: Option<u64>,
    /// As it would be with dump --lossy
    #[arg(long)]
    lossy: bool,
    /// List every object that is carried over, not only how many there are
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    pub common: Common,
}

impl Explain {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.common.start_log(None)?;
        let options = DumpOptions {
            shell_job: self.shell_job,
            ghost_limit: self.ghost_limit,
            lossy: self.lossy,
            ..DumpOptions::default()
        };
        let explanation =
            crust_engine::explain(self.root.pid(), &options, self.common.backend.into())?;
        if self.common.json {
            print_json(&explanation)?;
        } else {
            print(&text(&explanation, self.all))?;
        }
        Ok(match explanation.verdict {
            Verdict::Yes => ExitCode::SUCCESS,
            Verdict::Decide | Verdict::No => ExitCode::from(REFUSED),
        })
    }
}

fn text(explanation: &Explanation, all: bool) -> String {
    let mut text = format!(
        " process {} ({}): {}, {}; stopped for {}\n {}\n",
        explanation.pid,
        explanation.name,
        count(explanation.pids.len() as u64, "process", "processes"),
        count(explanation.threads, "thread", "threads"),
        time(Duration::from_nanos(explanation.frozen_ns)),
        match explanation.verdict {
            Verdict::Yes => "can be dumped",
            Verdict::Decide => "can be dumped, once it is decided how",
            Verdict::No => "cannot be dumped as it is",
        },
    );
    text.push_str(&refusals::table(
        &explanation.refusals,
        "cannot be carried over:",
        &Names::Machine,
    ));
    carried(&mut text, explanation, all);
    text
}

/// Adds what is carried over: how much, or with `all` object by object.
fn carried(text: &mut String, explanation: &Explanation, all: bool) {
    let kinds: BTreeSet<_> = explanation
        .carried
        .iter()
        .map(|object| (object.family, &object.kind))
        .collect();
    if kinds.is_empty() {
        return;
    }
    let number = count(explanation.carried.len() as u64, "object", "objects");
    let kinds = count(kinds.len() as u64, "kind", "kinds");
    if !all {
        let _ = writeln!(
            text,
            " carried over: {number} of {kinds} (--all lists them)"
        );
        return;
    }
    let _ = writeln!(text, " carried over: {number} of {kinds}");
    for object in &explanation.carried {
        let place = format!("{}.{}", object.owner, object.part);
        let what = object.what.replace('\n', &format!("\n{:43}", ""));
        let _ = writeln!(text, "   {place:<10} {:<28} {what}", object.kind);
    }
}
