// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust man` (hidden): writes the manual pages, from the same definition as the help.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};

/// Write the manual pages into a directory
#[derive(Debug, Args)]
pub struct Man {
    /// The directory, which exists
    directory: PathBuf,
}

impl Man {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        clap_mangen::generate_to(crate::Cli::command(), &self.directory)
            .with_context(|| format!("write to {}", self.directory.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}
