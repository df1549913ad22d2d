// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What `NAME.toml` says of an application: how it is run, and what must be true of it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// An application, as its file describes it. Commands are given to `sh -eu`, in the directory of the run, with the
/// process at the root of the tree as `$PID`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// What is true if the test passes, as a sentence without a full stop.
    pub what: String,
    /// The Debian packages that it needs; for those who make the guest's root.
    #[serde(rename = "packages")]
    _packages: Vec<String>,
    /// The programs that must be in the path; where one is missing the application is skipped.
    pub programs: Vec<String>,
    /// Programs and sources of ours that are copied into the directory of the run.
    #[serde(default)]
    pub files: Vec<String>,
    /// Makes what the program will need.
    #[serde(default)]
    pub prepare: String,
    /// How it is started. The shell becomes this command, which leads a session of its own.
    pub start: String,
    /// It is a job of an interactive shell, in a terminal: dumped and restored with `--shell-job`.
    #[serde(default)]
    pub terminal: bool,
    /// Asked again and again until it succeeds: then the program is in the midst of its work.
    pub ready: String,
    /// What is done with it before the dump, after it got ready.
    #[serde(default)]
    pub before: Vec<Step>,
    /// Names of processes that must be in the (first) image.
    #[serde(default)]
    pub holds: Vec<String>,
    /// What this prints changes while the program goes on. It is waited for after each restore that another dump
    /// follows.
    #[serde(default)]
    pub goes_on: String,
    /// In mode `running` its files have to be those of the moment of the dump when the image is restored. So it is
    /// stopped (SIGSTOP) while it is dumped and its files are saved, and they are put back before the restore.
    #[serde(default)]
    pub files_go_along: bool,
    /// Prints the paths of further files that are saved and put back so.
    #[serde(default)]
    pub files_elsewhere: String,
    /// In mode `running`: takes away what steps and program have left, before the restore.
    #[serde(default)]
    pub again: String,
    /// What must be true after the restore, while the program runs.
    #[serde(default)]
    pub after: Vec<Step>,
    /// How it is told to end, if it does not end by itself.
    #[serde(default)]
    pub end: String,
    /// The exit status with which it ends.
    #[serde(default)]
    pub status: i32,
    /// Files that must equal those of a run in which nothing is dumped.
    #[serde(default)]
    pub same: Vec<String>,
    /// What must be true when it has ended.
    #[serde(default)]
    pub ended: Vec<Step>,
}

/// One thing that is done with a program, or asked of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
pub enum Step {
    /// Runs a command, which must succeed and, if that is given, print this.
    Run { run: String, prints: Option<String> },
    /// Waits until a command succeeds.
    Await { r#await: String },
    /// Types this into the terminal, and waits until it shows that.
    Type { r#type: String, shows: String },
}

impl App {
    /// Reads the file of an application.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let app: Self = toml::from_str(&text).with_context(|| format!("{}", file.display()))?;
        let types = |steps: &[Step]| steps.iter().any(|step| matches!(step, Step::Type { .. }));
        ensure!(
            app.terminal || !(types(&app.before) || types(&app.after)),
            "{}: it types, but has no terminal",
            file.display()
        );
        Ok(app)
    }

    /// The first of its programs that this system does not have.
    pub fn missing(&self, beside: &[PathBuf]) -> Option<&str> {
        let path = env::var_os("PATH").unwrap_or_default();
        let has = |program: &str| {
            env::split_paths(&path).any(|directory| directory.join(program).is_file())
        };
        let programs = self.programs.iter().find(|program| !has(program));
        let files = || self.files.iter().find(|file| find(file, beside).is_none());
        programs.or_else(files).map(String::as_str)
    }
}

/// The file of this name in the first of these directories that has one.
pub fn find(file: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    let mut paths = directories.iter().map(|directory| directory.join(file));
    paths.find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_can_be_read() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut count = 0;
        for entry in fs::read_dir(directory).unwrap() {
            let file = entry.unwrap().path();
            if file
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let app = App::read(&file).unwrap();
                // The script that makes the guest's root reads this line.
                let text = fs::read_to_string(&file).unwrap();
                let line = text.lines().find(|line| line.starts_with("packages = ["));
                assert!(line.is_some_and(|line| line.ends_with(']')), "{file:?}");
                assert!(!app.what.ends_with('.'), "{file:?}");
                count += 1;
            }
        }
        assert!(count > 0);
    }
}
