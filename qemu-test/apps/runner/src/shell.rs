// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The shell commands that an application's file gives.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shared::patience::Patience;

/// Where commands are run, and about which process.
pub struct Shell {
    pub directory: PathBuf,
    pub pid: i32,
}

impl Shell {
    /// A command that is about to be run; what it says goes to us.
    pub fn command(directory: &Path, script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-euc", script])
            .current_dir(directory)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that must succeed; gives what it prints.
    pub fn run(&self, script: &str) -> Result<String> {
        let output = self.output(script)?;
        ensure!(
            output.status.success(),
            "`{script}`: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Whether a command succeeds.
    pub fn succeeds(&self, script: &str) -> Result<bool> {
        Ok(self.output(script)?.status.success())
    }

    /// Waits until a command prints something else than this.
    pub fn await_other(&self, script: &str, than: &str) -> Result<()> {
        wait_until(
            &self.directory,
            &format!("`{script}` prints nothing but `{}`", than.trim_end()),
            || Ok(self.run(script)? != than),
        )
    }

    fn output(&self, script: &str) -> Result<Output> {
        Self::command(&self.directory, script)
            .env("PID", self.pid.to_string())
            .output()
            .with_context(|| format!("run `{script}`"))
    }
}

/// Waits until this is so, as long as something goes on below this program or in the directory.
pub fn wait_until(
    directory: &Path,
    otherwise: &str,
    mut holds: impl FnMut() -> Result<bool>,
) -> Result<()> {
    let mut patience = Patience::begin(directory);
    while !holds()? {
        ensure!(!patience.is_over(), "{otherwise}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
