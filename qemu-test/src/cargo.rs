// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Runs `cargo test` and counts what it says.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::products::Products;
use crate::report::Section;
use crate::tap::Counts;

/// The unit tests of a crate or workspace of the clone.
pub fn test(products: &Products, directory: &str, section: &mut Section) -> Result<()> {
    let mut cargo = products
        .command("qemu-test/build/cargo")
        .args([directory, "test", "--workspace", "--locked", "--quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut counts = Counts::default();
    for line in BufReader::new(cargo.stdout.take().context("cargo has no output")?).lines() {
        let line = line?;
        if let Some(result) = line.strip_prefix("test result: ") {
            counts += parse(result);
        } else if !line.is_empty() && !line.starts_with("running ") {
            println!("{line}");
        }
    }
    let status = cargo.wait()?;
    let problem = match (counts.failed, status.success()) {
        (0, true) => None,
        (0, false) => Some(format!("cargo test failed: {status}")),
        (failed, _) => Some(format!("{failed} unit tests failed")),
    };
    // Failed tests are counted by the check below, once for all of them.
    section.add(Counts {
        failed: 0,
        ..counts
    });
    section.check(&format!("unit tests of {directory}: {counts}"), problem);
    Ok(())
}

/// The numbers of `ok. 3 passed; 0 failed; 1 ignored; ...`.
fn parse(result: &str) -> Counts {
    let number = |word: &str| {
        let before = result.split(&format!(" {word}")).next().unwrap_or_default();
        before
            .rsplit(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    Counts {
        passed: number("passed"),
        failed: number("failed"),
        skipped: number("ignored"),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::tap::Counts;

    #[test]
    fn reads_the_closing_line_of_a_test_binary() {
        let line =
            "FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(
            parse(line),
            Counts {
                passed: 12,
                failed: 3,
                skipped: 1
            }
        );
    }
}
