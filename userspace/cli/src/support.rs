// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust support` (hidden): prints docs/support.md, from the tables of kinds.

use std::process::ExitCode;

use clap::Args;
use crust_engine::KINDS;

use crate::output;

/// Print what is carried over, kind by kind, as Markdown
#[derive(Debug, Args)]
pub struct Support {}

impl Support {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        output::print(&KINDS.support())?;
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_committed_page_is_what_the_tables_say() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/support.md");
        let committed = fs::read_to_string(page).expect("read docs/support.md");
        let generated = KINDS.support();
        let differs = committed
            .lines()
            .zip(generated.lines())
            .find(|(there, now)| there != now);
        assert!(
            committed == generated,
            "docs/support.md is not what the tables say ({differs:?}); in userspace/, run\n\
             cargo run -p crust -- support > ../docs/support.md"
        );
    }
}
