// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Running crust on a program that is our child.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::patience::Patience;

/// Runs crust, and gives its end and what it said, which is also in the file `said`. If it kills our child `dying`
/// meanwhile, that is reaped: crust waits until the number is free. It may take as long as something goes on, also in
/// `directory`.
pub fn run(
    crust: &mut Command,
    said: &Path,
    dying: Option<i32>,
    directory: &Path,
) -> Result<(ExitStatus, String)> {
    let out = File::create(said)?;
    let mut child = crust
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .spawn()
        .context("run crust")?;
    let mut patience = Patience::begin(directory);
    let mut dying = dying;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if let Some(pid) = dying {
            dying = reap(pid)?.is_none().then_some(pid);
        }
        if patience.is_over() {
            child.kill()?;
            bail!("{crust:?} hung:\n{}", fs::read_to_string(said)?);
        }
        thread::sleep(Duration::from_millis(1));
    };
    Ok((status, fs::read_to_string(said)?))
}

/// The end of a child, if it has come.
pub fn reap(pid: i32) -> Result<Option<ExitStatus>> {
    Ok(
        match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG))? {
            WaitStatus::Exited(_, code) => Some(ExitStatus::from_raw(code << 8)),
            WaitStatus::Signaled(_, signal, _) => Some(ExitStatus::from_raw(signal as i32)),
            _ => None,
        },
    )
}
