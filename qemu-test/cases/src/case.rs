// SPDX-License-Identifier: Apache-2.0 OR MIT

//! One case program: what it says of itself, and the ways to run it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use shared::options::lowercase;
use shared::patience::Patience;
use shared::{tool, tree};

/// What is done to a program between its `ready()` and its checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Dumped, which kills it, and restored.
    Kill,
    /// Dumped with `--leave-running`: the program goes on, and then its image is restored.
    Running,
    /// Dumped and restored five times in a row.
    Repeat,
}

/// What a program says of itself (`--about`).
#[derive(Debug, Default)]
pub struct About {
    pub what: String,
    dump: Vec<String>,
    restore: Vec<String>,
    refused: String,
    pub needs_module: bool,
    pub drives_itself: bool,
    pub once: bool,
    pub unasked: bool,
}

impl About {
    /// Asks the program.
    pub fn ask(program: &Path) -> Result<Self> {
        let output = Command::new(program)
            .arg("--about")
            .output()
            .with_context(|| format!("run {}", program.display()))?;
        ensure!(
            output.status.success(),
            "{} --about failed",
            program.display()
        );
        let mut about = Self::default();
        for line in String::from_utf8(output.stdout)?.lines() {
            let (key, value) = line.split_once('=').context("a line without `=`")?;
            let words = || value.split_whitespace().map(str::to_owned).collect();
            match key {
                "what" => about.what = value.into(),
                "dump" => about.dump = words(),
                "restore" => about.restore = words(),
                "refused" => about.refused = value.into(),
                "needs_module" => about.needs_module = value == "1",
                "drives_itself" => about.drives_itself = value == "1",
                "once" => about.once = value == "1",
                "unasked" => about.unasked = value == "1",
                _ => bail!(
                    "{} says `{key}`, which the runner does not know",
                    program.display()
                ),
            }
        }
        Ok(about)
    }

    /// Whether the dump of it must be refused.
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }
}

/// A case under way.
pub struct Run<'a> {
    pub crust: &'a Path,
    pub program: &'a Path,
    pub about: &'a About,
    /// A fresh directory of its own.
    pub directory: PathBuf,
}

impl Run<'_> {
    /// Runs the case; an error says what went wrong. Returns why it was skipped, if it was.
    pub fn run(&self, mode: Mode) -> Result<Option<String>> {
        let pid = self.start(mode)?;
        if self.about.drives_itself {
            self.expect_success(pid, "the program")?;
            return Ok(self.skipped());
        }
        if !self.await_ready(pid)? {
            return Ok(self.skipped());
        }
        self.run_ready(mode, pid).map(|()| None)
    }

    fn run_ready(&self, mode: Mode, pid: i32) -> Result<()> {
        if !self.about.unasked {
            self.explain(pid)?;
        }
        if self.about.is_refused() {
            self.dump_refused(pid)?;
            self.go()?;
            return self.expect_success(pid, "the program after the refused dump");
        }
        match mode {
            Mode::Kill => self.dump_and_restore(pid, 1)?,
            Mode::Repeat => self.dump_and_restore(pid, 5)?,
            Mode::Running => {
                self.crust("dump", &["--leave-running"], pid, 0)?;
                ensure!(
                    tree::exists(pid),
                    "the dump with --leave-running killed the program"
                );
                self.go()?;
                self.expect_success(pid, "the program that was left running")?;
                if self.about.once {
                    return Ok(());
                }
                self.restore(pid)?;
            }
        }
        self.go()?;
        self.expect_success(pid, "the restored program")
    }

    /// Starts the program, which is told the mode: what is lost may be a matter of that.
    fn start(&self, mode: Mode) -> Result<i32> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))?;
        let child = Command::new(self.program)
            .arg(&self.directory)
            .env("CRUST", self.crust)
            .env("CASE_MODE", lowercase(&mode))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("run {}", self.program.display()))?;
        // It is waited for by number, as a restored program has to be.
        Ok(child.id() as i32)
    }

    /// Why the program says that it cannot be run here.
    fn skipped(&self) -> Option<String> {
        fs::read_to_string(self.directory.join("skip")).ok()
    }

    /// `false`: it is not, and says why.
    fn await_ready(&self, pid: i32) -> Result<bool> {
        let mut patience = Patience::begin(&self.directory);
        while !self.directory.join("ready").exists() {
            if let Some(status) = tool::reap(pid)? {
                ensure!(
                    status.success() && self.skipped().is_some(),
                    "ended before it was ready: {status}"
                );
                return Ok(false);
            }
            ensure!(!patience.is_over(), "never got ready");
            thread::sleep(Duration::from_millis(2));
        }
        Ok(true)
    }

    fn go(&self) -> Result<()> {
        File::create(self.directory.join("go"))?;
        Ok(())
    }

    fn dump_and_restore(&self, pid: i32, times: u32) -> Result<()> {
        for _ in 0..times {
            let tree = tree::descendants(pid);
            self.crust("dump", &[], pid, 0)?;
            // A restore may follow at once: every number must be free.
            for member in tree {
                ensure!(
                    !tree::exists(member),
                    "process {member} of the dumped tree is still there"
                );
            }
            self.restore(pid)?;
        }
        Ok(())
    }

    /// Asks whether a dump would succeed: what follows shows whether the answer is right.
    fn explain(&self, pid: i32) -> Result<()> {
        let expected = if self.about.is_refused() { 3 } else { 0 };
        self.crust("explain", &[], pid, expected).map(drop)
    }

    fn dump_refused(&self, pid: i32) -> Result<()> {
        let output = self.crust("dump", &[], pid, 3)?;
        ensure!(
            output.contains(&self.about.refused),
            "the refusal does not say `{}`:\n{output}",
            self.about.refused
        );
        let left: Vec<_> = fs::read_dir(self.images())?.collect();
        ensure!(left.is_empty(), "the refused dump left {left:?} behind");
        Ok(())
    }

    fn restore(&self, pid: i32) -> Result<()> {
        self.crust("restore", &["--restore-detached"], pid, 0)?;
        ensure!(
            tree::exists(pid),
            "process {pid} is not there after the restore"
        );
        Ok(())
    }

    fn images(&self) -> PathBuf {
        self.directory.join("images")
    }

    /// Runs crust, reaping the program if it is killed meanwhile, and returns what crust said.
    fn crust(&self, verb: &str, options: &[&str], pid: i32, expected: i32) -> Result<String> {
        let images = self.images();
        fs::create_dir_all(&images)?;
        let said = self.directory.join(format!("{verb}.out"));
        let mut command = Command::new(self.crust);
        command.arg(verb).args(options);
        if verb != "explain" {
            command.arg("--images-dir").arg(&images);
        }
        if verb == "restore" {
            command.args(&self.about.restore);
        } else {
            command
                .arg("--tree")
                .arg(pid.to_string())
                .args(&self.about.dump);
        }
        let dying = (verb == "dump").then_some(pid);
        let (status, output) = tool::run(&mut command, &said, dying, &self.directory)?;
        ensure!(
            status.code() == Some(expected),
            "crust {verb}: {status}, and not exit status {expected}:\n{output}"
        );
        Ok(output)
    }

    fn expect_success(&self, pid: i32, who: &str) -> Result<()> {
        let mut patience = Patience::begin(&self.directory);
        let status = loop {
            if let Some(status) = tool::reap(pid)? {
                break status;
            }
            ensure!(!patience.is_over(), "{who} hung");
            thread::sleep(Duration::from_millis(1));
        };
        ensure!(status.success(), "{who}: {status}");
        Ok(())
    }
}
