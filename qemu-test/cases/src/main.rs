// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs the case programs: each is started, dumped, killed, restored by `crust`, and then checks
//! its own view of what it had. Prints TAP.
//!
//! The same program runs on the host (mainline hooks) and in the guest (with the module).

mod case;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use case::{About, Mode, Run};
use clap::Parser;
use shared::options::{self, lowercase};
use shared::report::Report;
use shared::tree;

/// Runs the case programs under crust, and prints TAP.
#[derive(Parser)]
struct Options {
    /// The directory of the case programs.
    #[arg(long)]
    programs: PathBuf,
    #[command(flatten)]
    shared: options::Options<Mode>,
}

fn main() -> Result<ExitCode> {
    let Options { programs, shared } = Options::parse();
    // Restored programs whose crust has exited become our children.
    nix::sys::prctl::set_child_subreaper(true)?;
    let module = PathBuf::from("/dev/ckpt").exists();
    let mut programs: Vec<_> = fs::read_dir(&programs)
        .with_context(|| format!("read {}", programs.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    programs.sort();
    shared.check_names(programs.iter().map(PathBuf::as_path))?;
    let mut report = Report::begin();
    for program in &programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        if !shared.wants(&name) {
            continue;
        }
        let about = About::ask(program)?;
        for (index, mode) in shared.mode.iter().enumerate() {
            if (about.is_refused() || about.drives_itself) && index > 0 {
                continue;
            }
            let title = format!("{name} ({}): {}", lowercase(mode), about.what);
            if about.needs_module && !module {
                report.skipped(&title, "needs the module");
                continue;
            }
            let run = Run {
                crust: &shared.crust,
                program,
                about: &about,
                directory: shared.fresh_directory(&name, mode)?,
            };
            let result = run.run(*mode);
            tree::kill_all_below_us();
            match result {
                Ok(skipped) => {
                    match skipped {
                        Some(why) => report.skipped(&title, &why),
                        None => report.passed(&title),
                    }
                    fs::remove_dir_all(&run.directory)?;
                }
                Err(error) => {
                    let log = fs::read_to_string(run.directory.join("log")).unwrap_or_default();
                    let said = format!("{error:#}\n{log}");
                    report.failed(&title, &said);
                }
            }
        }
    }
    Ok(report.finish())
}
