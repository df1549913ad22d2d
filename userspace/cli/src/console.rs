// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The progress display of a dump or restore: a line for each part of the work, and while memory is written or
//! read, a bar on a terminal, and elsewhere a line now and then.
//!
//! It is written to the standard error, so that the standard output has nothing but JSON where that
//! is requested.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use crust_engine::words::count;
use crust_engine::{Observer, Point, Reply};

use crate::output::{bytes, time};

/// How often the bar is drawn.
const INTERVAL: Duration = Duration::from_millis(100);
/// How often a line is written where there is no terminal: nothing is said of what takes less.
const LINES: Duration = Duration::from_secs(5);
const BAR: usize = 20;
/// From this size on a restore says that it reads an image, because that takes a while.
const LARGE: u64 = 256 << 20;

/// Shows and logs the progress.
#[derive(Debug)]
pub struct Console {
    quiet: bool,
    bar: bool,
    /// What the bar is about.
    about: &'static str,
    /// When the memory began, and when something was last shown of it.
    began: Option<Instant>,
    shown: Option<Instant>,
    /// Whether there is a bar to be cleared.
    is_drawn: bool,
    /// The number of bytes of memory, as far as it is known.
    total: u64,
    /// The number of bytes of the image to be read.
    image: u64,
}

impl Console {
    /// With `quiet` it only logs.
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            bar: !quiet && stderr().is_terminal(),
            about: "memory",
            began: None,
            shown: None,
            is_drawn: false,
            total: 0,
            image: 0,
        }
    }

    /// Sets the size of the image that is about to be read, in bytes.
    pub fn expect(&mut self, image: u64) {
        self.image = image;
    }

    /// Returns the number of bytes of memory; 0 if it is not known yet.
    pub fn total(&self) -> u64 {
        self.total
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
        if std::mem::take(&mut self.is_drawn) {
            eprint!("\r\x1b[K");
        }
    }

    /// Logs a point, and writes its line.
    fn point(&mut self, point: &Point) {
        tracing::info!(?point);
        let processes = |number| count(number, "process", "processes");
        let threads = |number| count(number, "thread", "threads");
        let objects = |number| count(number, "object", "objects");
        match point {
            Point::Frozen {
                processes: number,
                threads: of_them,
                took,
            } => {
                let what = format!("{}, {}", processes(*number), threads(*of_them));
                self.line("freeze", &what, Some(*took));
            }
            Point::Captured {
                objects: number,
                took,
            } => self.line("describe", &objects(*number), Some(*took)),
            Point::LetGo { frozen } => {
                let what = format!("the program goes on, frozen for {}", time(*frozen));
                self.line("let go", &what, None);
            }
            Point::Pages {
                bytes: number,
                took,
            } => {
                let speed = speed(*number, *took);
                let what = format!("{}, {}/s", bytes(*number), bytes(speed));
                self.line("memory", &what, Some(*took));
                (self.began, self.shown) = (None, None);
                // Any further progress is that of the whole image, if it goes into a stream.
                self.about = "send";
            }
            Point::Written {
                bytes: number,
                took,
            } => self.line("write", &bytes(*number), Some(*took)),
            Point::Reaped { took } => self.line("end", "all pids are free", Some(*took)),
            Point::Planned {
                objects: number,
                steps,
                took,
            } => {
                let steps = count(*steps, "step", "steps");
                let what = format!("{}, {steps}", objects(*number));
                self.line("plan", &what, Some(*took));
                if self.image >= LARGE {
                    let what = format!("reading {} back ...", bytes(self.image));
                    self.line("memory", &what, None);
                }
            }
            // Sixteen lines would hide the others; they are in the log.
            Point::Stages { .. } => {}
            // At these points there is nothing to measure. They are in the log too.
            Point::PreDump { .. }
            | Point::PostDump { .. }
            | Point::PreRestore
            | Point::PreResume { .. }
            | Point::PostResume { .. }
            | Point::Memory { .. }
            | Point::Sent { .. } => {}
        }
    }

    /// Shows how much of the memory is done, unless that was shown a moment ago.
    fn memory(&mut self, done: u64, total: u64) {
        self.total = total;
        let now = Instant::now();
        let began = *self.began.get_or_insert(now);
        let interval = if self.bar { INTERVAL } else { LINES };
        let is_early = self.shown.unwrap_or(began) + interval > now;
        if self.quiet || total == 0 || is_early {
            return;
        }
        self.shown = Some(now);
        let rate = rate(done, total, now - began);
        if !self.bar {
            self.line(self.about, &rate, None);
            return;
        }
        let full = u128::from(done.min(total)) * BAR as u128 / u128::from(total);
        let full = usize::try_from(full).unwrap_or(BAR);
        eprint!(
            "\r {:<10} {}{}  {rate}\x1b[K",
            self.about,
            "█".repeat(full),
            "░".repeat(BAR - full),
        );
        let _ = stderr().flush();
        self.is_drawn = true;
    }
}

/// Returns how many bytes were done in a second.
fn speed(done: u64, took: Duration) -> u64 {
    let speed = u128::from(done) * 1_000_000_000 / took.as_nanos().max(1);
    u64::try_from(speed).unwrap_or(u64::MAX)
}

/// Returns how much is done, how fast, and how long the rest will take at this speed.
fn rate(done: u64, total: u64, took: Duration) -> String {
    let speed = bytes(speed(done, took));
    let mut text = format!("{} of {}, {speed}/s", bytes(done), bytes(total));
    if done > 0 {
        let left = total.saturating_sub(done) as f64 * took.as_secs_f64() / done as f64;
        text.push_str(&format!(", {left:.0} s left"));
    }
    text
}

impl Observer for Console {
    fn at(&mut self, point: &Point) -> Reply {
        match *point {
            Point::Memory { done, total } | Point::Sent { done, total } => self.memory(done, total),
            _ => self.point(point),
        }
        Reply::Proceed
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_how_long_the_rest_takes() {
        let (mib, second) = (1 << 20, Duration::from_secs(1));
        let text = rate(100 * mib, 400 * mib, second);
        assert_eq!(text, "100 MiB of 400 MiB, 100 MiB/s, 3 s left");
        assert_eq!(rate(0, 400 * mib, second), "0 B of 400 MiB, 0 B/s");
        assert_eq!(
            rate(mib, mib, second),
            "1.0 MiB of 1.0 MiB, 1.0 MiB/s, 0 s left"
        );
    }
}
