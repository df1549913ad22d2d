// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust support` (hidden): docs/support.md, from the tables of kinds.

use std::process::ExitCode;

use clap::Args;
use crust_engine::kinds::Kinds;

use crate::output;

/// Print what is carried over, kind by kind, as Markdown
#[derive(Debug, Args)]
pub struct Support {}

impl Support {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        output::print(&Kinds::all().support())?;
        Ok(ExitCode::SUCCESS)
    }
}
