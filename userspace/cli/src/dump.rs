// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust dump`: saves a process tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use crust_engine::{DumpOptions, DumpReport, DumpRequest};

use crate::arguments::{Common, Root, Target, size};
use crate::console::Console;
use crate::output::{bytes, print_json, time};
use crate::refusals;

/// Save a process and all its descendants; unless told otherwise they end
///
/// The image is complete or absent. If anything cannot be carried over, nothing is written,
/// all of it is listed, and the program goes on as if nothing had been tried.
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
  crust dump 4242 -j                   save a job of this shell";

impl Dump {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let made = self
            .target
            .directory
            .as_deref()
            .map(MadeDirectory::make)
            .transpose()?;
        self.common.start_log(self.target.directory.as_deref())?;
        let request = DumpRequest {
            pid: self.root.pid(),
            image: self.target.path(),
            options: DumpOptions {
                shell_job: self.shell_job,
                leave_running: self.leave_running,
                leave_stopped: self.leave_stopped,
                checksum: self.checksum,
                ghost_limit: self.ghost_limit,
                lossy: self.lossy,
            },
            backend: self.common.backend.into(),
            sync: !self.no_sync,
        };
        let mut console = Console::new(self.common.json);
        let report = crust_engine::dump(&request, &mut console)?;
        if let Some(made) = made {
            made.keep();
        }
        if self.common.json {
            print_json(&report)?;
        } else {
            say(&report, self.leave_stopped, &mut console);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn say(report: &DumpReport, stopped: bool, console: &mut Console) {
    let fate = match (report.left_alive, stopped) {
        (false, _) => "the program has ended (--leave-running keeps it)",
        (true, false) => "the program goes on",
        (true, true) => "the program is stopped (SIGCONT lets it go on)",
    };
    let what = format!(
        "{} ({}), frozen for {}, {} in all; {fate}",
        report.image.display(),
        bytes(report.image_bytes),
        time(Duration::from_nanos(report.frozen_ns)),
        time(Duration::from_nanos(report.total_ns)),
    );
    console.line("done", &what, None);
    eprint!("{}", refusals::table(&report.losses, ""));
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
            // It stays if there is something in it: a log, say.
            let _ = fs::remove_dir(path);
        }
    }
}
