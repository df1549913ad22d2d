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
use clap::Parser;
use run::{Mode, Run};
use shared::options::{self, lowercase};
use shared::report::Report;
use shared::tree;

/// Runs real programs under crust, and prints TAP.
#[derive(Parser)]
struct Options {
    /// The directory of the applications' files, NAME.toml.
    #[arg(long)]
    apps: PathBuf,
    /// The directories of the programs and sources that they need.
    #[arg(long, required = true)]
    programs: Vec<PathBuf>,
    #[command(flatten)]
    shared: options::Options<Mode>,
}

fn main() -> Result<ExitCode> {
    let mut options = Options::parse();
    close_inherited()?;
    let paths = [&mut options.shared.crust, &mut options.apps].into_iter();
    for path in paths.chain(&mut options.programs) {
        *path = path
            .canonicalize()
            .with_context(|| format!("find {}", path.display()))?;
    }
    // Restored programs whose crust has exited become our children.
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut report = Report::begin();
    for file in described(&options)? {
        let name = file
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let app = App::read(&file)?;
        if let Some(missing) = app.missing(&options.programs) {
            report.skipped(&name, &format!("there is no {missing}"));
            continue;
        }
        let run = |mode: Mode, undisturbed: Option<&Path>| -> Result<PathBuf> {
            let directory = options.shared.fresh_directory(&name, &mode)?;
            let run = Run {
                crust: &options.shared.crust,
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
                tell(&mut report, &name, Mode::Undisturbed, &app, &result);
                match result {
                    Ok(directory) => Some(directory),
                    Err(_) => continue,
                }
            }
        };
        for &mode in &options.shared.mode {
            let result = run(mode, undisturbed.as_deref());
            tell(&mut report, &name, mode, &app, &result);
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

/// Closes what whoever started the runner has left open: programs would inherit it, and a dump refuses the pipe of an
/// outsider.
fn close_inherited() -> Result<()> {
    let open = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect::<Vec<i32>>();
    for fd in open.into_iter().filter(|&fd| fd > 2) {
        // The descriptor of the list itself is closed already.
        let _ = nix::unistd::close(fd);
    }
    Ok(())
}

/// The files of the applications that are asked for, by name.
fn described(options: &Options) -> Result<Vec<PathBuf>> {
    let list =
        fs::read_dir(&options.apps).with_context(|| format!("read {}", options.apps.display()))?;
    let mut files: Vec<_> = list
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    options
        .shared
        .check_names(files.iter().map(PathBuf::as_path))?;
    files.retain(|file| {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        file.extension()
            .is_some_and(|extension| extension == "toml")
            && options.shared.wants(&name)
    });
    files.sort();
    Ok(files)
}

/// Tells how a run went.
fn tell(report: &mut Report, name: &str, mode: Mode, app: &App, result: &Result<PathBuf>) {
    let title = format!("{name} ({}): {}", lowercase(&mode), app.what);
    match result {
        Ok(_) => report.passed(&title),
        Err(error) => report.failed(&title, &format!("{error:#}")),
    }
}
