// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Measures dump and restore of a few shapes of programs, beside CRIU where it is installed.
//!
//! The tools take turns, so that a machine whose speed drifts is fair to both. Medians are shown, without the first
//! round. A peer that fails or is too slow is left out from there on, and its row says so.

mod growth;
mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::sys::wait::{WaitPidFlag, waitpid};
use shared::tree;

use tool::Tool;

#[derive(Parser)]
struct Options {
    #[arg(long)]
    crust: PathBuf,
    /// CRIU to compare with.
    #[arg(long)]
    criu: Option<PathBuf>,
    /// The program `workload`.
    #[arg(long)]
    workload: PathBuf,
    /// Where images go: a tmpfs shows the tools, a disk shows the disk too.
    #[arg(long)]
    out: PathBuf,
    /// How often each is done.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// How the time grows with the number of processes and threads, instead.
    #[arg(long)]
    growth: bool,
    /// Only workloads whose title contains this.
    only: Option<String>,
}

/// A shape of program, and whether it is left running by the dump.
struct Workload {
    title: String,
    arguments: Vec<String>,
    leave_running: bool,
}

/// What is measured if nothing else is asked for.
fn workloads() -> Vec<Workload> {
    [
        ("tiny process", "tiny", 0),
        ("1 GiB of random memory", "memory", 1024),
        ("100 processes", "processes", 100),
        ("1,000 processes of one parent", "processes", 1000),
        ("1,000 processes in a chain", "chain", 1000),
        ("100 threads", "threads", 100),
        ("10,000 threads", "threads", 10_000),
        ("65,000 mappings", "mappings", 65_000),
        ("1,000 files", "files", 1000),
        ("200 pipes", "pipes", 200),
    ]
    .map(|(title, shape, count)| Workload::new(title, shape, count, false))
    .into_iter()
    .chain(
        [
            ("tiny process, left running", "tiny", 0),
            ("1 GiB, left running", "memory", 1024),
        ]
        .map(|(title, shape, count)| Workload::new(title, shape, count, true)),
    )
    .collect()
}

impl Workload {
    fn new(title: &str, shape: &str, count: u32, leave_running: bool) -> Self {
        Self {
            title: title.into(),
            arguments: vec![shape.into(), count.to_string()],
            leave_running,
        }
    }
}

/// The measurements of one tool with one workload.
#[derive(Default)]
struct Series {
    dump: Vec<Duration>,
    frozen: Vec<Duration>,
    restore: Vec<Duration>,
    bytes: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    nix::sys::prctl::set_child_subreaper(true)?;
    let mut tools = vec![Tool::Crust(options.crust.canonicalize()?)];
    tools.extend(options.criu.clone().map(Tool::Criu));
    if options.growth {
        return growth::show(&options, &tools);
    }
    println!("| what | tool | dump ms | frozen ms | restore ms | image MiB |");
    println!("|---|---|--:|--:|--:|--:|");
    let wanted = |workload: &Workload| match &options.only {
        Some(only) => workload.title.contains(only.as_str()),
        None => true,
    };
    for workload in workloads().into_iter().filter(wanted) {
        for (tool, result) in tools.iter().zip(take_turns(&options, &tools, &workload)?) {
            let row = match result {
                Ok(series) => format!(
                    "{} | {} | {} | {:.2}",
                    milliseconds(median(series.dump)),
                    milliseconds(median(series.frozen)),
                    milliseconds(median(series.restore)),
                    series.bytes as f64 / f64::from(1 << 20),
                ),
                Err(why) => format!("{why} | - | - | -"),
            };
            println!("| {} | {} | {row} |", workload.title, tool.name());
        }
    }
    Ok(())
}

/// Measures a workload with each tool: its series, or why a peer has none.
fn take_turns(
    options: &Options,
    tools: &[Tool],
    workload: &Workload,
) -> Result<Vec<Result<Series, String>>> {
    let mut all: Vec<_> = tools.iter().map(|_| Ok(Series::default())).collect();
    for round in 0..=options.runs {
        for (tool, result) in tools.iter().zip(&mut all) {
            let Ok(series) = result else { continue };
            // The first round is not counted: it finds programs on a disk, and a guest's memory that
            // its host has yet to give it.
            let mut uncounted = Series::default();
            let series = if round == 0 { &mut uncounted } else { series };
            match measure(options, tool, workload, series) {
                Ok(()) => {}
                Err(error) if tool.is_peer() => {
                    eprintln!("# {} with {}: {error:#}", workload.title, tool.name());
                    tree::kill_all_below_us();
                    *result = Err(tool::failure(&error));
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("{} with {}", workload.title, tool.name()));
                }
            }
        }
    }
    Ok(all)
}

/// One dump, and a restore if the dump killed the program.
fn measure(options: &Options, tool: &Tool, workload: &Workload, series: &mut Series) -> Result<()> {
    let directory = options.out.join("bench");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let images = directory.join("images");
    fs::create_dir_all(&images)?;
    let pid = start(&options.workload, &workload.arguments, &directory)?;
    let members = tree::descendants(pid);
    let dump = tool.dump(pid, &images, workload.leave_running)?;
    series.dump.push(dump.total);
    series.frozen.push(dump.frozen);
    series.bytes = size(&images)?;
    if !workload.leave_running {
        // CRIU returns before the numbers are free.
        while members.iter().any(|member| tree::exists(*member)) {
            let _ = waitpid(None, Some(WaitPidFlag::WNOHANG));
            std::thread::sleep(Duration::from_millis(1));
        }
        series.restore.push(tool.restore(&images)?);
    }
    ensure!(
        members.iter().all(|member| tree::exists(*member)),
        "not all processes are there"
    );
    tree::kill_all_below_us();
    fs::remove_dir_all(&directory)?;
    Ok(())
}

fn start(workload: &Path, arguments: &[String], directory: &Path) -> Result<i32> {
    let mut child = Command::new(workload.canonicalize()?)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    while !directory.join("ready").exists() {
        ensure!(child.try_wait()?.is_none(), "the workload ended");
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(child.id() as i32)
}

/// Bytes that the files of a directory take.
fn size(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

/// The median, if there is any.
fn median(mut values: Vec<Duration>) -> Option<Duration> {
    values.sort();
    values.get(values.len() / 2).copied()
}

/// In milliseconds, or a dash.
fn milliseconds(time: Option<Duration>) -> String {
    time.map_or("-".into(), |time| {
        format!("{:.1}", time.as_secs_f64() * 1e3)
    })
}
