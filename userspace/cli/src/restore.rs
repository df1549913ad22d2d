// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust restore`: restores a process tree.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use crust_engine::words::count;
use crust_engine::{
    Place, RestoreOptions, RestoreReport, RestoreRequest, foreground, named, plan_text,
};

use crate::arguments::{Common, Source};
use crate::console::Console;
use crate::failure::{self, CONFLICT};
use crate::output::{print, print_json, time};
use crate::refusals::{self, Names};

/// Bring a saved process tree back, with the same pids, and let it go on
///
/// All or nothing: if anything fails, no process is left behind. An image that comes from the
/// standard input (-) is read to its end before anything is made; that needs room for it in
/// $TMPDIR or /var/tmp. Without --restore-detached
/// crust waits for the root of the tree, passes signals on to it, and ends with its exit
/// status (128 and the signal's number if a signal ended it).
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = AFTER_HELP)]
pub struct Restore {
    #[command(flatten)]
    pub source: Source,
    /// Return as soon as the program runs
    #[arg(short = 'd', long = "restore-detached")]
    detached: bool,
    /// Leave the program stopped, as by SIGSTOP
    #[arg(short = 's', long)]
    leave_stopped: bool,
    /// Give the program the terminal, session and group of this shell
    #[arg(short = 'j', long)]
    shell_job: bool,
    /// Have the monotonic and the boot-time clock go on from where they were at the dump
    #[arg(long)]
    keep_clocks: bool,
    /// Show what would be done, step by step, and what is in the way; do nothing
    #[arg(long)]
    plan: bool,
    /// Write the pid of the root to FILE
    #[arg(long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    #[command(flatten)]
    pub common: Common,
}

const AFTER_HELP: &str = "\
The options -D, -d, -s, -j, -v and -o mean what they mean to CRIU.

Examples:
  crust restore redis.img              bring it back and wait for it, as a shell does
  crust restore -d -D images           bring images/crust.img back and return
  ssh host crust dump 4242 -i - | crust restore -
                                       bring a program here from another machine
  crust restore redis.img --keep-clocks  after a reboot: the time in between has not passed
  crust restore redis.img --plan       show what would be done, and what is in the way";

impl Restore {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let image = self.source.place()?;
        self.common.start_log(self.source.directory.as_deref())?;
        let request = RestoreRequest {
            image,
            options: RestoreOptions {
                shell_job: self.shell_job,
                detached: self.detached,
                leave_stopped: self.leave_stopped,
                keep_clocks: self.keep_clocks,
            },
            backend: self.common.backend.into(),
            pidfile: self.pidfile,
        };
        if self.plan {
            return plan(&request, self.common.json);
        }
        let mut console = Console::new(self.common.json);
        console.expect(size(&request.image));
        let report = crust_engine::restore(&request, &mut console)
            .map_err(|error| failure::explain_space(error, &request.image, 0))?;
        if self.common.json {
            print_json(&report)?;
        } else {
            say(&report, &mut console);
        }
        if self.detached {
            return Ok(ExitCode::SUCCESS);
        }
        let ended = foreground::wait(report.pid, report.foreground)?;
        Ok(ExitCode::from(ended.exit_code()))
    }
}

/// Returns the size of an image in bytes; 0 if it is not known, because it comes from a stream.
fn size(image: &Place) -> u64 {
    match image {
        Place::File(path) => fs::metadata(path).map_or(0, |found| found.len()),
        Place::Stream => 0,
    }
}

fn say(report: &RestoreReport, console: &mut Console) {
    let what = format!(
        "{} is back, {}, {} in all",
        named(report.pid),
        count(report.threads, "thread", "threads"),
        time(Duration::from_nanos(report.total_ns)),
    );
    console.line("done", &what, None);
    eprint!("{}", refusals::table(&report.losses, "", &Names::Machine));
}

fn plan(request: &RestoreRequest, json: bool) -> anyhow::Result<ExitCode> {
    let report = crust_engine::plan(request)?;
    if json {
        print_json(&plan_text::json(&report.plan, &report.conflicts))?;
    } else {
        let mut text = refusals::table(
            &report.conflicts,
            "in the way:",
            &Names::of_image(&request.image),
        );
        text.push_str(&plan_text::text(&report.plan));
        print(&text)?;
    }
    let forbidden = report
        .conflicts
        .iter()
        .any(|conflict| conflict.weight > crust_engine::Weight::Loss);
    Ok(ExitCode::from(if forbidden { CONFLICT } else { 0 }))
}
