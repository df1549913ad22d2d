// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Fuzz targets for everything that reads what crust did not write itself: the container of an image, the decoder of
//! each kind of record, the plan of a tree, and the parsers of `/proc`.
//!
//! Inputs are mutations of real ones: the golden images of `crust-engine`, and what `/proc` says of this process. A target
//! fails if it panics, overflows, or asks for more memory than [`MEMORY`]; an error is the right answer. The input of a
//! failure is kept in a file, which `--input` runs again.

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

mod mutate;
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use fastrand::Rng;
use nix::sys::resource::{Resource, setrlimit};

use crate::targets::{TARGETS, Target};

/// The address space that a target may use, in bytes: a damaged number must not be believed.
const MEMORY: u64 = 2 << 30;

#[derive(Parser)]
struct Arguments {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the random numbers begin; else it is chosen, and printed
    #[arg(long)]
    seed: Option<u64>,
    /// Run the targets with this input only
    #[arg(long)]
    input: Option<PathBuf>,
    /// The targets; all of them if none is named
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS.map(|target| target.name)))]
    targets: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    setrlimit(Resource::RLIMIT_AS, MEMORY, MEMORY).context("limit the memory")?;
    let is_chosen = |target: &&Target| {
        arguments.targets.is_empty() || arguments.targets.iter().any(|name| name == target.name)
    };
    for target in TARGETS.iter().filter(is_chosen) {
        match &arguments.input {
            Some(path) => (target.run)(&std::fs::read(path)?),
            None => fuzz(target, arguments)?,
        }
    }
    Ok(())
}

/// Runs one target for its time.
fn fuzz(target: &Target, arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = Rng::with_seed(seed);
    let seeds = (target.seeds)()?;
    ensure!(
        !seeds.is_empty(),
        "{}: there are no inputs to begin with",
        target.name
    );
    // What it is made of must be readable, or nothing but errors would be tested.
    seeds.iter().for_each(|input| (target.run)(input));
    let end = Instant::now() + Duration::from_secs(arguments.seconds);
    let mut inputs = 0_u64;
    while Instant::now() < end {
        let input = mutate::mutate(&seeds, &mut random);
        inputs += 1;
        if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
            let path = std::env::temp_dir().join(format!("crust-fuzz-{}-{seed}", target.name));
            std::fs::write(&path, &input).context("keep the input")?;
            anyhow::bail!(
                "{}: input {inputs} of seed {seed} fails; it is in {}",
                target.name,
                path.display()
            );
        }
    }
    println!("{}: {inputs} inputs, seed {seed}", target.name);
    Ok(())
}
