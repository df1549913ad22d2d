// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counts what a TAP or KTAP stream says. Only the outermost level counts: a nested test is summed up by its parent.

use std::fmt;
use std::ops::AddAssign;

/// How many tests there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: u32,
    pub failed: u32,
    pub skipped: u32,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// A stream that is being read, line by line.
#[derive(Default)]
pub struct Tap {
    counts: Counts,
    planned: Option<u32>,
    failures: Vec<String>,
    /// How many more lines may be what a program says of the failure before.
    explained: usize,
}

/// So many lines of what a program says of a failure are kept, for the sum at the end.
const EXPLANATION: usize = 5;

impl Tap {
    pub fn line(&mut self, line: &str) {
        let line = line.trim_end();
        let explained = std::mem::take(&mut self.explained);
        if let Some(plan) = line.strip_prefix("1..") {
            let number = plan
                .split_whitespace()
                .next()
                .and_then(|number| number.parse().ok());
            self.planned = self.planned.or(number);
        } else if let Some(rest) = result(line, "not ok") {
            self.fail(rest);
            self.explained = EXPLANATION;
        } else if let Some(rest) = result(line, "ok") {
            if is_skipped(rest) {
                self.counts.skipped += 1;
            } else {
                self.counts.passed += 1;
            }
        } else if let Some(reason) = line.strip_prefix("Bail out!") {
            self.fail(&format!("bailed out:{reason}"));
        } else if explained > 0 && line.trim_start().starts_with('#') {
            self.explained = explained - 1;
            if let Some(failure) = self.failures.last_mut() {
                failure.push_str("\n    ");
                failure.push_str(line.trim_start());
            }
        }
    }

    /// The counts of a stream that has ended. Tests that were planned and not seen have failed, and so has a stream
    /// without any plan or test: it was not run.
    pub fn finish(mut self) -> (Counts, Vec<String>) {
        let seen = self.counts.passed + self.counts.failed + self.counts.skipped;
        match self.planned {
            Some(planned) if planned > seen => {
                for number in seen..planned {
                    self.fail(&format!(
                        "test {} was planned and did not report",
                        number + 1
                    ));
                }
            }
            None if seen == 0 => self.fail("no test reported"),
            _ => {}
        }
        (self.counts, self.failures)
    }

    fn fail(&mut self, what: &str) {
        self.counts.failed += 1;
        self.failures.push(what.trim().to_owned());
    }
}

/// What follows `ok` or `not ok`, if the line is such a result.
fn result<'a>(line: &'a str, word: &str) -> Option<&'a str> {
    let rest = line.strip_prefix(word)?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(rest)
}

/// Whether a result carries the directive that says that its test was skipped.
fn is_skipped(rest: &str) -> bool {
    rest.rsplit_once("# ").is_some_and(|(_, text)| {
        text.get(..4)
            .is_some_and(|word| word.eq_ignore_ascii_case("SKIP"))
    })
}

#[cfg(test)]
mod tests {
    use super::{Counts, Tap};

    fn count(text: &str) -> Counts {
        let mut tap = Tap::default();
        text.lines().for_each(|line| tap.line(line));
        tap.finish().0
    }

    #[test]
    fn counts_the_outer_level() {
        let text = "KTAP version 1\n1..4\n  ok 1 inner\nok 1 a\nnot ok 2 b\nok 3 c # SKIP no net\nok 4 - d # comment\n";
        assert_eq!(
            count(text),
            Counts {
                passed: 2,
                failed: 1,
                skipped: 1
            }
        );
    }

    #[test]
    fn keeps_what_is_said_of_a_failure() {
        let mut tap = Tap::default();
        let text = "not ok 1 a\n  # why\n  # and where\nok 2 b\n  # no matter\n1..2\n";
        text.lines().for_each(|line| tap.line(line));
        assert_eq!(tap.finish().1, ["1 a\n    # why\n    # and where"]);
    }

    #[test]
    fn what_was_planned_and_never_came_has_failed() {
        assert_eq!(
            count("TAP version 14\n1..3\nok 1 a\n"),
            Counts {
                passed: 1,
                failed: 2,
                skipped: 0
            }
        );
        assert_eq!(
            count("Bail out! no device\n"),
            Counts {
                passed: 0,
                failed: 1,
                skipped: 0
            }
        );
        assert_eq!(
            count("segmentation fault\n"),
            Counts {
                passed: 0,
                failed: 1,
                skipped: 0
            }
        );
    }

    #[test]
    fn a_plan_may_come_last_and_words_are_not_results() {
        assert_eq!(
            count("ok 1 a\nokay\nnot okay\n1..1\n"),
            Counts {
                passed: 1,
                failed: 0,
                skipped: 0
            }
        );
        assert_eq!(count("1..0 # SKIP no module\n"), Counts::default());
    }
}
