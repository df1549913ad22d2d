// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The progress display of a dump or restore: a line for each phase, and a bar on a terminal.
//!
//! It is written to the standard error, so that the standard output has nothing but JSON where that
//! is requested.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use crust_engine::{Phase, Progress};

use crate::output::{bytes, count, time};

/// How often the bar is drawn.
const INTERVAL: Duration = Duration::from_millis(100);
const BAR: u64 = 20;

/// Shows and logs the progress.
#[derive(Debug)]
pub struct Console {
    quiet: bool,
    bar: bool,
    /// What the bar is about.
    about: &'static str,
    /// When the memory began, and when the bar was last drawn.
    began: Option<Instant>,
    drawn: Option<Instant>,
}

impl Console {
    /// With `quiet` it only logs.
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            bar: !quiet && stderr().is_terminal(),
            about: "memory",
            began: None,
            drawn: None,
        }
    }

    /// A line of its own: what, and how long it took.
    pub fn line(&mut self, name: &str, what: &str, took: Option<Duration>) {
        self.clear();
        if self.quiet {
            return;
        }
        match took {
            Some(took) => eprintln!(" {name:<10} {what:<40} {:>8}", time(took)),
            None => eprintln!(" {name:<10} {what}"),
        }
    }

    fn clear(&mut self) {
        if self.drawn.take().is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

impl Progress for Console {
    fn phase(&mut self, phase: &Phase) {
        tracing::info!(?phase);
        let processes = |number| count(number, "process", "processes");
        let threads = |number| count(number, "thread", "threads");
        let objects = |number| count(number, "object", "objects");
        match phase {
            Phase::Frozen {
                processes: number,
                threads: of_them,
                took,
            } => {
                let what = format!("{}, {}", processes(*number), threads(*of_them));
                self.line("freeze", &what, Some(*took));
            }
            Phase::Captured {
                objects: number,
                took,
            } => self.line("describe", &objects(*number), Some(*took)),
            Phase::LetGo { frozen } => {
                let what = format!("the program goes on, frozen for {}", time(*frozen));
                self.line("let go", &what, None);
            }
            Phase::Pages {
                bytes: number,
                took,
            } => {
                let speed = *number as f64 / took.as_secs_f64().max(1e-9);
                let what = format!("{}, {}/s", bytes(*number), bytes(speed as u64));
                self.line("memory", &what, Some(*took));
                self.began = None;
                // Any further progress is that of the whole image, if it goes into a stream.
                self.about = "send";
            }
            Phase::Written {
                bytes: number,
                took,
            } => self.line("write", &bytes(*number), Some(*took)),
            Phase::Reaped { took } => self.line("end", "all pids are free", Some(*took)),
            Phase::Planned {
                objects: number,
                steps,
                took,
            } => {
                let steps = count(*steps, "step", "steps");
                let what = format!("{}, {steps}", objects(*number));
                self.line("plan", &what, Some(*took));
            }
            // Sixteen lines would hide the others; they are in the log.
            Phase::Stages { .. } => {}
        }
    }

    fn memory(&mut self, done: u64, total: u64) {
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        let early = self.drawn.unwrap_or(began) + INTERVAL > now;
        if !self.bar || total == 0 || early {
            return;
        }
        let full = (done.min(total) as u128 * u128::from(BAR) / u128::from(total)) as usize;
        let speed = done as f64 / (now - began).as_secs_f64().max(1e-9);
        eprint!(
            "\r {:<10} {}{}  {} / {}  {}/s\x1b[K",
            self.about,
            "█".repeat(full),
            "░".repeat(BAR as usize - full),
            bytes(done),
            bytes(total),
            bytes(speed as u64)
        );
        let _ = stderr().flush();
        self.drawn = Some(now);
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.clear();
    }
}
