// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `make check`: what needs no virtual machine and no root. Each check is one test, and so is each unit test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result};

use crate::products::Products;
use crate::report::Section;
use crate::tap::Counts;

/// The cargo workspaces of the clone.
const WORKSPACES: [&str; 2] = ["userspace", "qemu-test"];

/// What cargo checks in each of them. The documentation is read by who works on the code, hence with what is private.
const CARGO: &[(&str, &[&str])] = &[
    ("rustfmt would change nothing", &["fmt", "--all", "--check"]),
    (
        "clippy has no warning",
        &[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    ),
    (
        "rustdoc has no warning",
        &[
            "doc",
            "--quiet",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--locked",
        ],
    ),
];

/// What `userspace/fuzz` damages: images, the records in them, those of a tree that is planned, and files of `/proc`.
const FUZZED: [&str; 4] = ["container", "decoders", "plans", "parsers"];

/// With this status a script says that it cannot check anything here; what it prints is why.
const SKIPPED: i32 = 77;

pub fn run(products: &Products, section: &mut Section) -> Result<()> {
    // A link to what is private is warned of as if it would be missing, also where it is there.
    let rustdoc = "-D warnings -A rustdoc::private-intra-doc-links";
    for workspace in WORKSPACES {
        for (what, arguments) in CARGO {
            let mut cargo = products.command("qemu-test/build/cargo");
            cargo
                .arg(workspace)
                .args(*arguments)
                .env("RUSTDOCFLAGS", rustdoc);
            check(section, &format!("{workspace}: {what}"), cargo)?;
        }
        unit_tests(products, workspace, section)?;
        let mut deny = products.command("qemu-test/build/deny");
        deny.args(["--locally", workspace]);
        let what = "licences and sources of the dependencies are allowed";
        check(section, &format!("{workspace}: {what}"), deny)?;
    }
    fuzz(products, section)?;
    let shellcheck = products.command("qemu-test/build/shellcheck");
    check(section, "shellcheck finds nothing", shellcheck)?;
    let mut patch = products.command("qemu-test/build/module-patch");
    patch.arg("--check");
    check(section, "the series has the module of rust-module/", patch)
}

/// All targets at the same time, which share the processors: a minute is enough for what everybody would find.
fn fuzz(products: &Products, section: &mut Section) -> Result<()> {
    let mut running = Vec::new();
    for target in FUZZED {
        let mut cargo = products.command("qemu-test/build/cargo");
        cargo
            .args(["userspace", "run", "--quiet", "--locked"])
            .args(["-p", "crust-fuzz", "--", "--seconds", "60", target]);
        running.push((target, start(cargo)?));
    }
    for (target, child) in running {
        let what = format!("a minute of damaged {target}");
        judge(section, &what, &child.wait_with_output()?);
    }
    Ok(())
}

/// One check is one command, whose output matters only if it fails.
fn check(section: &mut Section, what: &str, command: Command) -> Result<()> {
    judge(section, what, &start(command)?.wait_with_output()?);
    Ok(())
}

fn start(mut command: Command) -> Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("running {command:?}"))
}

fn judge(section: &mut Section, what: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.code() == Some(SKIPPED) {
        section.skip(what, said.trim());
        return;
    }
    let problem = (!output.status.success()).then(|| {
        print!("{said}");
        output.status.to_string()
    });
    section.check(what, problem);
}

/// The unit tests of a workspace.
fn unit_tests(products: &Products, workspace: &str, section: &mut Section) -> Result<()> {
    let mut cargo = products
        .command("qemu-test/build/cargo")
        .args([workspace, "test", "--workspace", "--locked", "--quiet"])
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
    section.check(&format!("{workspace}: unit tests: {counts}"), problem);
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
