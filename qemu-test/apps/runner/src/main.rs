// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs real programs: each is started, dumped in the midst of its work, restored by `crust`, and has to end its work
//! as if nothing had been. What that means for each is in its file, `NAME.toml`. Prints TAP.

mod app;
mod files;
mod run;
mod shell;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use app::App;
use cases::tree;
use clap::Parser;
use run::{Mode, Run};

#[derive(Parser)]
struct Options {
    /// The tool under test.
    #[arg(long)]
    crust: PathBuf,
    /// The directory of the applications' files, NAME.toml.
    #[arg(long)]
    apps: PathBuf,
    /// The directories of the programs and sources that they need.
    #[arg(long, required = true)]
    programs: Vec<PathBuf>,
    /// A directory for images and logs. What fails stays there.
    #[arg(long)]
    out: PathBuf,
    /// What is done to the programs.
    #[arg(long, value_enum, default_values = ["kill", "running", "repeat"])]
    mode: Vec<Mode>,
    /// Only these applications.
    names: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let mut options = Options::parse();
    let paths = [&mut options.crust, &mut options.apps].into_iter();
    for path in paths.chain(&mut options.programs) {
        *path = path
            .canonicalize()
            .with_context(|| format!("find {}", path.display()))?;
    }
    fs::create_dir_all(&options.out)?;
    options.out = options.out.canonicalize()?;
    // Restored programs whose crust has exited become our children.
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut report = Report::default();
    println!("TAP version 14");
    for file in described(&options)? {
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let app = App::read(&file)?;
        if let Some(missing) = app.missing(&options.programs) {
            report.skip(&name, &format!("there is no {missing}"));
            continue;
        }
        let run = |mode: Mode, undisturbed: Option<&Path>| -> Result<PathBuf> {
            let directory = options.out.join(format!("{name}-{mode:?}").to_lowercase());
            if directory.exists() {
                fs::remove_dir_all(&directory)?;
            }
            fs::create_dir_all(&directory)?;
            let run = Run {
                crust: &options.crust,
                programs: &options.programs,
                app: &app,
                directory: directory.clone(),
                undisturbed,
            };
            let result = run.run(mode);
            tree::kill_all_below_us();
            result.with_context(|| format!("in {}", directory.display()))?;
            Ok(directory)
        };
        // What the others are held against. That it passes its own checks says nothing of crust, but of them.
        let undisturbed = match app.same.is_empty() {
            true => None,
            false => {
                let result = run(Mode::Undisturbed, None);
                report.result(&name, Mode::Undisturbed, &app, result.as_ref().err());
                match result {
                    Ok(directory) => Some(directory),
                    Err(_) => continue,
                }
            }
        };
        for &mode in &options.mode {
            let result = run(mode, undisturbed.as_deref());
            report.result(&name, mode, &app, result.as_ref().err());
            if let Ok(directory) = result {
                fs::remove_dir_all(directory)?;
            }
        }
        if let Some(directory) = undisturbed {
            fs::remove_dir_all(directory)?;
        }
    }
    Ok(report.finish())
}

/// The files of the applications that are asked for, by name.
fn described(options: &Options) -> Result<Vec<PathBuf>> {
    let list =
        fs::read_dir(&options.apps).with_context(|| format!("read {}", options.apps.display()))?;
    let mut files: Vec<_> = list
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|file| {
        let name = file.file_stem().unwrap_or_default();
        file.extension()
            .is_some_and(|extension| extension == "toml")
            && (options.names.is_empty() || options.names.iter().any(|wanted| **wanted == *name))
    });
    files.sort();
    Ok(files)
}

/// What is told of the runs.
#[derive(Default)]
struct Report {
    count: u32,
    failed: u32,
}

impl Report {
    fn skip(&mut self, name: &str, why: &str) {
        self.count += 1;
        println!("ok {} - {name} # SKIP {why}", self.count);
    }

    fn result(&mut self, name: &str, mode: Mode, app: &App, error: Option<&anyhow::Error>) {
        self.count += 1;
        let mode = format!("{mode:?}").to_lowercase();
        let title = format!("{} - {name} ({mode}): {}", self.count, app.what);
        let Some(error) = error else {
            println!("ok {title}");
            return;
        };
        if app.known_failure.is_empty() {
            self.failed += 1;
            println!("not ok {title}");
        } else {
            println!("not ok {title} # TODO {}", app.known_failure);
        }
        for line in format!("{error:#}").lines() {
            println!("  # {line}");
        }
    }

    fn finish(&self) -> ExitCode {
        println!("1..{}", self.count);
        println!(
            "# {} passed, {} failed",
            self.count - self.failed,
            self.failed
        );
        ExitCode::from(u8::from(self.failed > 0 || self.count == 0))
    }
}
