// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs the case programs: each is started, dumped, killed, restored by `crust`, and then checks
//! its own view of what it had. Prints TAP.
//!
//! The same program runs on the host (mainline hooks) and in the guest (with the module).

mod case;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use case::{About, Mode, Run};
use cases::tree;
use clap::Parser;

#[derive(Parser)]
struct Options {
    /// The tool under test.
    #[arg(long)]
    crust: PathBuf,
    /// The directory of the case programs.
    #[arg(long)]
    programs: PathBuf,
    /// A directory for images and logs. What fails stays there.
    #[arg(long)]
    out: PathBuf,
    /// What is done to the programs.
    #[arg(long, value_enum, default_values = ["kill", "running", "repeat"])]
    mode: Vec<Mode>,
    /// Only these cases.
    names: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    // Restored programs whose crust has exited become our children.
    nix::sys::prctl::set_child_subreaper(true)?;
    let module = PathBuf::from("/dev/ckpt").exists();
    let mut programs: Vec<_> = fs::read_dir(&options.programs)
        .with_context(|| format!("read {}", options.programs.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    programs.sort();
    let (mut count, mut failed) = (0, 0);
    println!("TAP version 14");
    for program in &programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        if !options.names.is_empty() && !options.names.iter().any(|wanted| *wanted == name) {
            continue;
        }
        let about = About::ask(program)?;
        for (index, mode) in options.mode.iter().enumerate() {
            if (about.is_refused() || about.drives_itself) && index > 0 {
                continue;
            }
            count += 1;
            let title = format!("{count} - {name} ({mode:?}): {}", about.what).to_lowercase();
            if about.needs_module && !module {
                println!("ok {title} # SKIP needs the module");
                continue;
            }
            let directory = options.out.join(format!("{name}-{mode:?}").to_lowercase());
            if directory.exists() {
                fs::remove_dir_all(&directory)?;
            }
            fs::create_dir_all(&directory)?;
            let directory = directory.canonicalize()?;
            let run = Run {
                crust: &options.crust,
                program,
                about: &about,
                directory,
            };
            let result = run.run(*mode);
            tree::kill_all_below_us();
            match result {
                Ok(skipped) => {
                    let skipped = skipped.map_or(String::new(), |why| format!(" # SKIP {why}"));
                    println!("ok {title}{skipped}");
                    fs::remove_dir_all(&run.directory)?;
                }
                Err(error) => {
                    if about.known_failure.is_empty() {
                        failed += 1;
                        println!("not ok {title}");
                    } else {
                        println!("not ok {title} # TODO {}", about.known_failure);
                    }
                    let log = fs::read_to_string(run.directory.join("log")).unwrap_or_default();
                    for line in format!("{error:#}\n{log}").lines() {
                        println!("  # {line}");
                    }
                }
            }
        }
    }
    println!("1..{count}");
    println!("# {} passed, {failed} failed", count - failed);
    Ok(ExitCode::from(u8::from(failed > 0 || count == 0)))
}
