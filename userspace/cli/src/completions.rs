// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust completions`: scripts by which a shell completes the options.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::output;

/// Print the completions for a shell
///
/// For bash: `crust completions bash > /etc/bash_completion.d/crust`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Cli::command(), "crust", &mut text);
        output::print(&String::from_utf8(text)?)?;
        Ok(ExitCode::SUCCESS)
    }
}
