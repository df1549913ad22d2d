// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust dump`: saves a process tree.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use crust_engine::{DumpOptions, DumpReport, DumpRequest, Error, Place};

use crate::arguments::{Common, Root, Target, size};
use crate::console::Console;
use crate::failure;
use crate::output::{Json, bytes, time};
use crate::refusals::{self, Names};

/// Save a process and all its descendants; unless told otherwise they end
///
/// The image is complete or absent. If anything cannot be carried over, nothing is written,
/// all of it is listed, and the program goes on as if nothing had been tried.
///
/// With -i - the image goes to the standard output, and all else that is said to the standard
/// error. A pipe cannot say whether the image has arrived: so the program is left stopped, and
/// crust tells how to end it or to let it go on, unless --kill or --leave-running says what
/// is to become of it. There must be room for the image in $TMPDIR or /var/tmp. If nobody
/// reads it (any more), the dump fails and the program goes on.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = AFTER_HELP)]
#[command(override_usage = "crust dump [OPTIONS] PID\n       crust dump [OPTIONS] -t PID")]
pub struct Dump {
    #[command(flatten)]
    root: Root,
    #[command(flatten)]
    target: Target,
    /// Let the program go on as soon as its state is safe; the memory is written meanwhile
    #[arg(short = 'R', long, conflicts_with = "leave_stopped")]
    leave_running: bool,
    /// Leave the program stopped, as by SIGSTOP, instead of ending it
    #[arg(short = 's', long)]
    leave_stopped: bool,
    /// End the program also if the image goes to the standard output, as soon as all is written
    #[arg(long, conflicts_with_all = ["leave_running", "leave_stopped"])]
    kill: bool,
    /// Carry over a job of a shell, for the shell of the restore to take over
    #[arg(short = 'j', long)]
    shell_job: bool,
    /// Sum up the contents of memory too, for `crust inspect --verify`; takes longer
    #[arg(long)]
    checksum: bool,
    /// Carry over deleted files of up to BYTES each (K, M and G may follow) [default: 1M]
    #[arg(long, value_name = "BYTES", value_parser = size)]
    ghost_limit: Option<u64>,
    /// Drop what waits to be read and cannot be copied: events of inotify. It is listed
    #[arg(long)]
    lossy: bool,
    /// Do not wait until the image is on the disk; a crash of the machine may then lose it
    #[arg(long)]
    no_sync: bool,
    #[command(flatten)]
    pub common: Common,
}

const AFTER_HELP: &str = "\
The options -t, -D, -R, -s, -j, -v, -o and --ghost-limit mean what they mean to CRIU.

Examples:
  crust explain 4242                   what would come of it
  crust dump 4242 -i redis.img         save the tree of 4242, which ends
  crust dump -t 4242 -D images -R      save it to images/crust.img; it goes on
  crust dump 4242 -j                   save a job of this shell
  crust dump 4242 -i - | ssh host crust restore -d -
                                       bring it to another machine; here it is left stopped";

impl Dump {
    /// Where JSON goes, if that is asked for.
    pub fn json(&self) -> Json {
        match (self.common.json, self.target.is_stream()) {
            (false, _) => Json::No,
            (true, false) => Json::Stdout,
            (true, true) => Json::Stderr,
        }
    }

    pub fn run(self) -> anyhow::Result<ExitCode> {
        let json = self.json();
        let image = self.target.place()?;
        let made = self
            .target
            .directory
            .as_deref()
            .map(MadeDirectory::make)
            .transpose()?;
        self.common.start_log(self.target.directory.as_deref())?;
        let request = DumpRequest {
            pid: self.root.pid(),
            image,
            options: DumpOptions {
                shell_job: self.shell_job,
                leave_running: self.leave_running,
                leave_stopped: self.leave_stopped,
                checksum: self.checksum,
                ghost_limit: self.ghost_limit,
                lossy: self.lossy,
            },
            kill: self.kill,
            backend: self.common.backend.into(),
            sync: !self.no_sync,
        };
        let mut console = Console::new(json.is_asked());
        let report = crust_engine::dump(&request, &mut console).map_err(|error| {
            let was_interrupted = matches!(error, Error::Interrupted);
            let error = failure::explain_space(error, &request.image, console.total());
            match was_interrupted {
                true => error.context(format!("process {} goes on", request.pid)),
                false => error,
            }
        })?;
        if let Some(made) = made {
            made.keep();
        }
        if json.is_asked() {
            json.print(&report)?;
        } else {
            let is_sent = request.image == Place::Stream;
            say(&report, is_sent, &mut console);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn say(report: &DumpReport, is_sent: bool, console: &mut Console) {
    let fate = match (report.left_alive, report.left_stopped.is_empty()) {
        (false, _) => "the program has ended (--leave-running keeps it)",
        (true, true) => "the program goes on",
        (true, false) => "the program is stopped",
    };
    let place = match is_sent {
        true => "sent".into(),
        false => report.image.display().to_string(),
    };
    let what = format!(
        "{place} ({}), frozen for {}, {} in all; {fate}",
        bytes(report.image_bytes),
        time(Duration::from_nanos(report.frozen_ns)),
        time(Duration::from_nanos(report.total_ns)),
    );
    console.line("done", &what, None);
    eprint!("{}", left_stopped(report, is_sent));
    eprint!("{}", refusals::table(&report.losses, "", &Names::Machine));
}

/// What the user can do with a program that was left stopped.
fn left_stopped(report: &DumpReport, is_sent: bool) -> String {
    if report.left_stopped.is_empty() {
        return String::new();
    }
    let numbers = |pids: &[i32]| {
        let words: Vec<_> = pids.iter().map(i32::to_string).collect();
        words.join(" ")
    };
    let mut text = String::new();
    if is_sent {
        text.push_str(" Whether the image has arrived, crust cannot know. When you do:\n");
    }
    let all = numbers(&report.left_stopped);
    let _ = writeln!(text, "   end it            kill -KILL {all}");
    let going = numbers(&report.to_continue);
    if !going.is_empty() {
        let _ = writeln!(text, "   let it go on      kill -CONT {going}");
    }
    text
}

/// A directory that a dump made for its image, and that goes if the dump comes to nothing.
struct MadeDirectory(Option<PathBuf>);

impl MadeDirectory {
    fn make(path: &Path) -> anyhow::Result<Self> {
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => return Ok(Self(None)),
            Ok(_) => bail!("{} is not a directory", path.display()),
            Err(_) => {}
        }
        fs::create_dir(path).with_context(|| format!("make the directory {}", path.display()))?;
        Ok(Self(Some(path.into())))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for MadeDirectory {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // The directory stays if there is something in it, such as a log.
            let _ = fs::remove_dir(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_do_with_a_program_that_is_stopped() {
        let report = DumpReport {
            left_alive: true,
            left_stopped: vec![12, 11, 10],
            to_continue: vec![12, 10],
            ..DumpReport::default()
        };
        let sent = left_stopped(&report, true);
        assert!(sent.contains("cannot know"), "{sent}");
        assert!(sent.contains("kill -KILL 12 11 10\n"), "{sent}");
        assert!(sent.contains("kill -CONT 12 10\n"), "{sent}");
        assert!(!left_stopped(&report, false).contains("cannot know"));
        assert_eq!(left_stopped(&DumpReport::default(), true), "");
    }
}
