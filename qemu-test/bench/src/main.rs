// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Measures dump and restore of a few shapes of programs, beside CRIU where it is installed.
//!
//! The tools take turns, so that a machine whose speed drifts is fair to both. Medians are shown, without the first
//! round.

mod tool;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cases::tree;
use clap::Parser;
use nix::sys::wait::{WaitPidFlag, waitpid};

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
    /// Only workloads whose title contains this.
    only: Option<String>,
}

/// A shape of program, and whether it is left running by the dump.
struct Workload {
    title: &'static str,
    arguments: &'static [&'static str],
    leave_running: bool,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        title: "tiny process",
        arguments: &["tiny"],
        leave_running: false,
    },
    Workload {
        title: "1 GiB of random memory",
        arguments: &["memory", "1024"],
        leave_running: false,
    },
    Workload {
        title: "100 processes",
        arguments: &["processes", "100"],
        leave_running: false,
    },
    Workload {
        title: "100 threads",
        arguments: &["threads", "100"],
        leave_running: false,
    },
    Workload {
        title: "1,000 files",
        arguments: &["files", "1000"],
        leave_running: false,
    },
    Workload {
        title: "200 pipes",
        arguments: &["pipes", "200"],
        leave_running: false,
    },
    Workload {
        title: "tiny process, left running",
        arguments: &["tiny"],
        leave_running: true,
    },
    Workload {
        title: "1 GiB, left running",
        arguments: &["memory", "1024"],
        leave_running: true,
    },
];

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
    println!("| what | tool | dump ms | frozen ms | restore ms | image MiB |");
    println!("|---|---|--:|--:|--:|--:|");
    for workload in WORKLOADS {
        if options
            .only
            .as_ref()
            .is_some_and(|only| !workload.title.contains(only.as_str()))
        {
            continue;
        }
        let mut series: Vec<_> = tools.iter().map(|_| Series::default()).collect();
        for round in 0..=options.runs {
            for (tool, series) in tools.iter().zip(&mut series) {
                // The first round is not counted: it finds programs on a disk, and a guest's memory that
                // its host has yet to give it.
                let mut uncounted = Series::default();
                let series = if round == 0 { &mut uncounted } else { series };
                measure(&options, tool, workload, series)
                    .with_context(|| format!("{} with {}", workload.title, tool.name()))?;
            }
        }
        for (tool, series) in tools.iter().zip(series) {
            println!(
                "| {} | {} | {} | {} | {} | {:.2} |",
                workload.title,
                tool.name(),
                median(series.dump),
                median(series.frozen),
                median(series.restore),
                series.bytes as f64 / f64::from(1 << 20),
            );
        }
    }
    Ok(())
}

/// One dump, and a restore if the dump killed the program.
fn measure(options: &Options, tool: &Tool, workload: &Workload, series: &mut Series) -> Result<()> {
    let directory = options.out.join("bench");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    let images = directory.join("images");
    fs::create_dir_all(&images)?;
    let pid = start(&options.workload, workload.arguments, &directory)?;
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

fn start(workload: &Path, arguments: &[&str], directory: &Path) -> Result<i32> {
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

/// The median in milliseconds, or a dash.
fn median(mut values: Vec<Duration>) -> String {
    values.sort();
    match values.get(values.len() / 2) {
        Some(value) => format!("{:.1}", value.as_secs_f64() * 1e3),
        None => "-".into(),
    }
}
