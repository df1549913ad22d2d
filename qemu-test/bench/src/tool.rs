// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The tools that are measured: how each is called, and how long it says the target was frozen.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;

/// How long a tool may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A tool that dumps and restores.
pub enum Tool {
    Crust(PathBuf),
    Criu(PathBuf),
}

/// What one dump took.
pub struct Dump {
    pub total: Duration,
    pub frozen: Duration,
}

impl Tool {
    /// Its name in the table.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Crust(_) => "crust",
            Self::Criu(_) => "criu",
        }
    }

    /// Whether it is there to compare with: then it may fail.
    pub fn is_peer(&self) -> bool {
        matches!(self, Self::Criu(_))
    }

    /// Dumps the tree below our child `pid` into `images`.
    pub fn dump(&self, pid: i32, images: &Path, leave_running: bool) -> Result<Dump> {
        let mut command = match self {
            Self::Crust(path) => {
                let mut command = Command::new(path);
                command.args(["dump", "--json"]);
                command
            }
            Self::Criu(path) => {
                let mut command = Command::new(path);
                command.args(["dump", "-v0", "-o", "dump.log"]);
                command
            }
        };
        command
            .arg("--tree")
            .arg(pid.to_string())
            .arg("--images-dir")
            .arg(images);
        if leave_running {
            command.arg("--leave-running");
        }
        let started = Instant::now();
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if !leave_running {
            // Nobody else waits for it, and the tools wait until somebody has. Asleep: on a single
            // processor a loop would be measured too. If the dump fails, it waits for its end.
            std::thread::spawn(move || waitpid(Pid::from_raw(pid), None));
        }
        let limit = Limit::of(child.id());
        let output = child.wait_with_output()?;
        let total = started.elapsed();
        limit.check()?;
        ensure!(
            output.status.success(),
            "{} dump: {}\n{}",
            self.name(),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        let frozen = match self {
            Self::Crust(_) => {
                let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
                let ns = report["frozen_ns"]
                    .as_u64()
                    .context("no frozen_ns in the report of crust")?;
                Duration::from_nanos(ns)
            }
            Self::Criu(_) => criu_frozen(&images.join("stats-dump"))?,
        };
        Ok(Dump { total, frozen })
    }

    /// Restores, detached, and returns how long it took.
    pub fn restore(&self, images: &Path) -> Result<Duration> {
        let mut command = match self {
            Self::Crust(path) => {
                let mut command = Command::new(path);
                command.arg("restore");
                command
            }
            Self::Criu(path) => {
                let mut command = Command::new(path);
                command.args(["restore", "-v0", "-o", "restore.log"]);
                command
            }
        };
        command
            .arg("--restore-detached")
            .arg("--images-dir")
            .arg(images);
        let errors = images.join("stderr");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&errors)?);
        let started = Instant::now();
        let mut child = command.spawn()?;
        let limit = Limit::of(child.id());
        let status = child.wait()?;
        let took = started.elapsed();
        limit.check()?;
        let said = fs::read_to_string(&errors)?;
        fs::remove_file(&errors)?;
        ensure!(
            status.success(),
            "{} restore: {status}\n{said}",
            self.name()
        );
        Ok(took)
    }
}

/// A tool that took longer than it may.
#[derive(Debug)]
struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it took more than {} s", PATIENCE.as_secs())
    }
}

impl std::error::Error for TooSlow {}

/// What a table says of a tool that failed.
pub fn failure(error: &anyhow::Error) -> String {
    if error.is::<TooSlow>() {
        format!("> {} s", PATIENCE.as_secs())
    } else {
        "failed".into()
    }
}

/// A limit for the time that a tool takes, which is killed then.
struct Limit {
    end: Sender<()>,
    passed: JoinHandle<bool>,
}

impl Limit {
    fn of(pid: u32) -> Self {
        let (end, ended) = channel();
        let passed = std::thread::spawn(move || {
            let passed = ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
            if passed {
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
            passed
        });
        Self { end, passed }
    }

    /// Says that the tool has ended.
    fn check(self) -> Result<()> {
        drop(self.end);
        ensure!(!self.passed.join().unwrap_or(false), TooSlow);
        Ok(())
    }
}

/// `frozen_time`, in microseconds, of CRIU's stats-dump: two magic numbers and a length of 32 bits
/// each, then a protobuf message with `dump` = 1, and in it `freezing_time` = 1 and `frozen_time` = 2.
fn criu_frozen(path: &Path) -> Result<Duration> {
    let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let mut rest = bytes.get(12..).context("stats-dump is too short")?;
    // The tag and the length of the inner message.
    ensure!(
        varint(&mut rest) == Some(1 << 3 | 2),
        "stats-dump holds no dump"
    );
    varint(&mut rest);
    while let (Some(key), Some(value)) = (varint(&mut rest), varint(&mut rest)) {
        if key == 2 << 3 {
            return Ok(Duration::from_micros(value));
        }
    }
    anyhow::bail!("stats-dump holds no frozen time")
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::varint;

    #[test]
    fn varints_are_little_endian_groups_of_seven_bits() {
        assert_eq!(varint(&mut &[0xac, 0x02][..]), Some(300));
        assert_eq!(varint(&mut &[0x80][..]), None);
    }
}
