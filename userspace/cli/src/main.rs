// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust`: checkpoint and restore of Linux process trees.
//!
//! There is one file per subcommand: its options, and its output. The work is done by the engine,
//! which returns plain data; with `--json` this data is the output.

#![forbid(unsafe_code)]
// Only tests cast numbers freely: they have chosen them.
#![cfg_attr(
    not(test),
    warn(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::cast_lossless
    )
)]

mod arguments;
mod check;
mod completions;
mod console;
mod dump;
mod explain;
mod failure;
mod inspect;
mod log;
mod man;
mod output;
mod refusals;
mod restore;
mod support;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Failure;
use crate::output::Json;

/// Saves a running process tree to a file, and brings it back.
#[derive(Debug, Parser)]
#[command(name = "crust", version, after_help = AFTER_HELP, propagate_version = true)]
#[command(disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dump(dump::Dump),
    Restore(restore::Restore),
    Explain(explain::Explain),
    Inspect(inspect::Inspect),
    Check(check::Check),
    Completions(completions::Completions),
    #[command(hide = true)]
    Support(support::Support),
    #[command(hide = true)]
    Man(man::Man),
}

const AFTER_HELP: &str = "\
Exit status:
  0  done
  1  failed; a dump has left the program running, a restore has left nothing behind
  2  wrong usage
  3  refused: something cannot be carried over; `crust explain PID` tells what, why and what to do
  4  conflict: something on this machine is in the way of a restore, such as a pid that is taken

An image holds all memory of the program, with its secrets: its mode is 0600. A restore runs what
is in the image with the credentials that are in it: restore only what you trust.";

fn main() -> ExitCode {
    let cli = Cli::parse_from(arguments::expand_verbosity(std::env::args_os()));
    // A restore that fails tells of tasks that exist in the image only.
    let image = match &cli.command {
        Command::Restore(restore) => restore.source.place().ok(),
        _ => None,
    };
    let (json, result) = match cli.command {
        Command::Dump(dump) => (dump.json(), dump.run()),
        Command::Restore(restore) => (Json::asked(restore.common.json), restore.run()),
        Command::Explain(explain) => (Json::asked(explain.common.json), explain.run()),
        Command::Inspect(inspect) => (Json::asked(inspect.json), inspect.run()),
        Command::Check(check) => (Json::asked(check.json), check.run()),
        Command::Completions(completions) => (Json::No, completions.run()),
        Command::Support(support) => (Json::No, support.run()),
        Command::Man(man) => (Json::No, man.run()),
    };
    match result {
        Ok(code) => code,
        Err(failure) => Failure::report(&failure, json, image.as_ref()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_options_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_that_users_of_criu_know() {
        for line in [
            "crust dump -t 7 -D dir -R -j -v -v -o dump.log",
            "crust dump --tree 7 --images-dir dir --leave-stopped --shell-job",
            "crust dump 7 -i file --json --no-sync",
            "crust restore -D dir -d -s -j -o log --pidfile pid",
            "crust restore --images-dir dir --restore-detached --leave-stopped --shell-job",
            "crust restore file --plan",
            "crust dump 7 -i - --kill",
            "crust dump 7 -i - --leave-running --json",
            "crust restore -d -",
            "crust restore -d -i -",
            "crust inspect - --all",
            "crust inspect -D dir --tree",
        ] {
            Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn usage_that_cannot_be_meant() {
        for line in [
            "crust dump",
            "crust dump 7 -t 8",
            "crust dump 0",
            "crust dump -- -7",
            "crust dump 7 -R -s",
            "crust dump 7 -D dir -i file",
            "crust restore file -D dir",
            "crust restore - -D dir",
            "crust dump 7 --kill -R",
            "crust dump 7 --kill -s",
        ] {
            Cli::try_parse_from(line.split(' ')).expect_err(line);
        }
    }
}
