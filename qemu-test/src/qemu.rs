// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The emulator as a command.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

const PROGRAM: &str = "qemu-system-x86_64";

/// QEMU, which ends with its caller, however that ends: a guest whose harness is killed would run on.
///
/// # Errors
///
/// It is not installed.
pub fn command() -> Result<Command> {
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|directory| directory.join(PROGRAM).exists()) {
        bail!("{PROGRAM} is not installed");
    }
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", PROGRAM]);
    Ok(command)
}
