// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Formatting of numbers for users, and the two output channels.

use std::io::{self, Write};
use std::time::Duration;

use crust_engine::words::printable_lines;
use serde::Serialize;

/// Writes text for a user to the standard output, without control characters of the program that
/// it is about.
pub fn print(text: &str) -> io::Result<()> {
    write(&printable_lines(text))
}

/// Writes to the standard output. That a reader such as `head` has seen enough is no failure.
fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes data as JSON to the standard output.
pub fn print_json(data: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(data)?;
    text.push('\n');
    Ok(write(&text)?)
}

/// Whether a report is printed as JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Json {
    /// Not asked for.
    No,
    /// To the standard output.
    Stdout,
    /// To the standard error, because an image goes to the standard output.
    Stderr,
}

impl Json {
    /// To the standard output, if it is asked for.
    pub fn asked(asked: bool) -> Self {
        match asked {
            true => Self::Stdout,
            false => Self::No,
        }
    }

    /// Whether there is nothing else to be said.
    pub fn is_asked(self) -> bool {
        self != Self::No
    }

    /// Writes data, if it is asked for.
    pub fn print(self, data: &impl Serialize) -> anyhow::Result<()> {
        match self {
            Self::No => Ok(()),
            Self::Stdout => print_json(data),
            Self::Stderr => {
                eprintln!("{}", serde_json::to_string_pretty(data)?);
                Ok(())
            }
        }
    }
}

/// `412 KiB`, `1.4 GiB`.
pub fn bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1000.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    if unit == "B" || value >= 9.95 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// `412 us`, `38 ms`, `1.2 s`.
pub fn time(time: Duration) -> String {
    let us = time.as_secs_f64() * 1e6;
    match us {
        ..999.5 => format!("{us:.0} us"),
        ..9_950.0 => format!("{:.1} ms", us / 1e3),
        ..999_500.0 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

/// `2026-11-29 12:55:47 UTC`, from seconds since 1970.
pub fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The calendar repeats every 400 years, which have 146,097 days. Counted from 1 March of the
    // year 0, a leap day is the last day of its year.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        era * 400 + year + next,
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let shown: Vec<_> = [0, 999, 4096, 10_230, 1_000_000, 1_500_000_000, 40 << 40]
            .map(bytes)
            .to_vec();
        assert_eq!(
            shown,
            [
                "0 B", "999 B", "4.0 KiB", "10 KiB", "977 KiB", "1.4 GiB", "40 TiB"
            ]
        );
    }

    #[test]
    fn dates() {
        let shown: Vec<_> = [0, 951_782_400, 1_795_956_947, 4_107_542_399]
            .map(date)
            .to_vec();
        assert_eq!(
            shown,
            [
                "1970-01-01 00:00:00 UTC",
                "2000-02-29 00:00:00 UTC",
                "2026-11-29 12:55:47 UTC",
                "2100-02-28 23:59:59 UTC"
            ]
        );
    }

    #[test]
    fn times() {
        let shown: Vec<_> = [0, 412, 999_600, 9_900, 38_200, 1_230_000]
            .map(|us| time(Duration::from_micros(us)))
            .to_vec();
        assert_eq!(
            shown,
            ["0 us", "412 us", "1.00 s", "9.9 ms", "38 ms", "1.23 s"]
        );
    }
}
