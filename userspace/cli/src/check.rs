// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust check`: what this kernel lacks, and what each missing feature costs.

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use crust_engine::check::{self, Findings, Need};

use crate::output::{print, print_json};

/// Show what this kernel lacks, and what each missing thing costs
///
/// "Looks good." if nothing is missing. The exit status is 1 only if crust cannot work at all.
#[derive(Debug, Args)]
pub struct Check {
    /// Print all that was looked for as JSON
    #[arg(long)]
    pub json: bool,
}

impl Check {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let findings = check::check();
        if self.json {
            print_json(&findings)?;
        } else {
            print(&text(&findings))?;
        }
        Ok(if findings.works {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}

fn text(findings: &Findings) -> String {
    let mut text = format!(" kernel     {}\n", findings.kernel);
    let module = if findings.module { "/dev/ckpt" } else { "none" };
    let _ = writeln!(text, " module     {module}");
    for (need, title) in [
        (
            Need::Required,
            "missing, and crust does not work without it:",
        ),
        (Need::Wanted, "missing:"),
    ] {
        let items: Vec<_> = findings
            .missing()
            .filter(|item| item.need == need)
            .collect();
        if items.is_empty() {
            continue;
        }
        let _ = writeln!(text, " {title}");
        // A remedy is printed once, after the last of the items to which it applies.
        for same in items.chunk_by(|a, b| a.remedy == b.remedy) {
            for item in same {
                let _ = writeln!(text, "   {:<28} {}", item.name, item.cost);
            }
            let _ = writeln!(text, "   {:<28} -> {}", "", same[0].remedy);
        }
    }
    text.push_str(match (findings.looks_good, findings.works) {
        (true, _) => "Looks good.\n",
        (false, true) => "Works, with these limits.\n",
        (false, false) => "Does not work.\n",
    });
    text
}
