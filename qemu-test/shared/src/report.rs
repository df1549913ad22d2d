// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a runner says of its runs, in TAP. The harness counts it (`src/tap.rs` there).

use std::process::ExitCode;

/// A stream of results under way.
pub struct Report {
    count: u32,
    passed: u32,
    failed: u32,
}

impl Report {
    /// Begins the stream.
    pub fn begin() -> Self {
        println!("TAP version 14");
        Self {
            count: 0,
            passed: 0,
            failed: 0,
        }
    }

    /// It is as it should be.
    pub fn passed(&mut self, title: &str) {
        self.passed += 1;
        self.result("ok", title, "");
    }

    /// It cannot be run here.
    pub fn skipped(&mut self, title: &str, why: &str) {
        self.result("ok", title, &format!(" # SKIP {why}"));
    }

    /// It went wrong, and in `said` is how.
    pub fn failed(&mut self, title: &str, said: &str) {
        self.failed += 1;
        self.result("not ok", title, "");
        for line in said.lines() {
            println!("  # {line}");
        }
    }

    /// Ends the stream, in which there must have been something.
    pub fn finish(self) -> ExitCode {
        println!("1..{}", self.count);
        println!("# {} passed, {} failed", self.passed, self.failed);
        ExitCode::from(u8::from(self.failed > 0 || self.count == 0))
    }

    fn result(&mut self, word: &str, title: &str, directive: &str) {
        self.count += 1;
        println!("{word} {} - {title}{directive}", self.count);
    }
}
