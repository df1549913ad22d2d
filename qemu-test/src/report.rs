// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the sections of a test run found, and how it is shown.

use std::time::Instant;

use crate::tap::{Counts, Tap};

/// A run of tests: sections one after another, then one line that sums them up.
pub struct Report {
    total: Counts,
    failures: Vec<String>,
}

/// One section while it runs. Each `TAP version` line begins a new stream, so that several programs may report.
pub struct Section<'a> {
    report: &'a mut Report,
    name: &'static str,
    start: Instant,
    counts: Counts,
    tap: Option<Tap>,
}

impl Report {
    pub fn new() -> Self {
        Report {
            total: Counts::default(),
            failures: Vec::new(),
        }
    }

    pub fn section(&mut self, name: &'static str, what: &str) -> Section<'_> {
        println!("# {name}: {what}");
        Section {
            report: self,
            name,
            start: Instant::now(),
            counts: Counts::default(),
            tap: None,
        }
    }

    /// Shows what failed and the sum; gives the exit status.
    pub fn finish(self) -> u8 {
        println!();
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        println!("{}", self.total);
        u8::from(self.total.failed > 0 || self.total.passed == 0)
    }
}

impl Section<'_> {
    /// Shows and counts one line of a program that speaks TAP.
    pub fn tap(&mut self, line: &str) {
        println!("{line}");
        if line.starts_with("TAP version") || line.starts_with("KTAP version") {
            self.end_stream();
            self.tap = Some(Tap::default());
        }
        if let Some(tap) = &mut self.tap {
            tap.line(line);
        }
    }

    /// Whether anything has failed so far.
    pub fn has_failed(&mut self) -> bool {
        self.end_stream();
        self.counts.failed > 0
    }

    /// Counts one test of the harness itself.
    pub fn check(&mut self, what: &str, problem: Option<String>) {
        match problem {
            None => {
                println!("ok - {what}");
                self.counts.passed += 1;
            }
            Some(problem) => {
                println!("not ok - {what}: {problem}");
                self.fail(format!("{what}: {problem}"));
            }
        }
    }

    /// Counts one test that cannot be run here.
    pub fn skip(&mut self, what: &str, why: &str) {
        println!("ok - {what} # SKIP {why}");
        self.counts.skipped += 1;
    }

    /// Adds tests that were counted elsewhere.
    pub fn add(&mut self, counts: Counts) {
        self.counts += counts;
    }

    /// Ends the section. One in which nothing was tested has failed.
    pub fn finish(mut self) {
        self.end_stream();
        if self.counts == Counts::default() {
            self.fail("nothing was tested".to_owned());
        }
        println!(
            "# {}: {} ({} s)\n",
            self.name,
            self.counts,
            self.start.elapsed().as_secs()
        );
        self.report.total += self.counts;
    }

    fn fail(&mut self, what: String) {
        self.counts.failed += 1;
        self.report.failures.push(format!("{}: {what}", self.name));
    }

    fn end_stream(&mut self) {
        if let Some(tap) = self.tap.take() {
            let (counts, failures) = tap.finish();
            self.counts += counts;
            let named = failures
                .into_iter()
                .map(|failure| format!("{}: {failure}", self.name));
            self.report.failures.extend(named);
        }
    }
}
