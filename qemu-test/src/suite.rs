// SPDX-License-Identifier: Apache-2.0 OR MIT
//! `make test`: all that is tested, section by section. Nothing is tried twice.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::check;
use crate::guest::{self, Guest, Outcome};
use crate::products::{Flavour, Products};
use crate::report::{Report, Section};

/// How long the hooks are stressed on the debug kernel.
const STRESS_SECONDS: u32 = 60;

/// How long the device is fuzzed there.
const FUZZ_SECONDS: u32 = 120;

type Run = fn(&Products, &mut Section) -> Result<()>;

const SECTIONS: &[(&str, &str, Run)] = &[
    (
        "check",
        "format, lints, documentation, dependencies, scripts and unit tests, without root",
        check::run,
    ),
    (
        "native",
        "end-to-end cases on this machine's own kernel",
        native,
    ),
    (
        "guest",
        "the same cases in the guest, with the module",
        guest,
    ),
    ("apps", "real programs in the guest, with the module", apps),
    ("selftests", "the kselftests of the series", selftests),
    ("module", "loading and unloading ckpt.ko", module),
    (
        "kunit",
        "KUnit tests and examples of the documentation, inside the kernel",
        kunit,
    ),
    (
        "stress",
        "kselftests and stress of the hooks on a kernel with lockdep, RCU and sleep checks",
        stress,
    ),
    ("fuzz", "the fuzzer of the device on that kernel", fuzz),
    ("demo", "make demo, as a test", demo),
];

/// Runs these sections, or all.
pub fn run(products: &Products, wanted: &[String]) -> Result<u8> {
    if let Some(unknown) = wanted
        .iter()
        .find(|name| SECTIONS.iter().all(|(known, ..)| known != name))
    {
        let names: Vec<_> = SECTIONS.iter().map(|(name, ..)| *name).collect();
        bail!(
            "no such section: {unknown} (there are {})",
            names.join(", ")
        );
    }
    let mut report = Report::new();
    for (name, what, body) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            let mut section = report.section(name, what);
            if let Err(error) = body(products, &mut section) {
                section.check("the section runs to its end", Some(format!("{error:#}")));
            }
            section.finish();
        }
    }
    Ok(report.finish())
}

fn native(products: &Products, section: &mut Section) -> Result<()> {
    // Not in the cache: a case that runs as another user must get there. What failed stays.
    let out = std::env::temp_dir().join(format!("crust-cases-{}", std::process::id()));
    fs::create_dir(&out)?;
    let mut cases = as_root(products)
        .arg(products.program("cases")?)
        .arg("--crust")
        .arg(products.tool()?)
        .arg("--programs")
        .arg(products.c_programs("qemu-test/cases", "host")?)
        .arg("--out")
        .arg(&out)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the cases")?;
    for line in BufReader::new(cases.stdout.take().context("the cases have no output")?).lines() {
        section.tap(&line?);
    }
    let status = cases.wait()?;
    if fs::remove_dir(&out).is_err() {
        println!("# logs and images of what failed: {}", out.display());
    }
    if !section.has_failed() && !status.success() {
        section.check("the cases end well", Some(status.to_string()));
    }
    Ok(())
}

fn guest(products: &Products, section: &mut Section) -> Result<()> {
    let guest = Guest::new(products, "cases", Flavour::Plain)?
        .tool()?
        .cases()?;
    let outcome = guest.run(guest::CASES, |line| section.tap(line))?;
    judge(section, &outcome);
    Ok(())
}

fn apps(products: &Products, section: &mut Section) -> Result<()> {
    let guest = Guest::new(products, "apps", Flavour::Plain)?
        .tool()?
        .apps()?;
    let outcome = guest.run(guest::APPS, |line| section.tap(line))?;
    judge(section, &outcome);
    Ok(())
}

fn selftests(products: &Products, section: &mut Section) -> Result<()> {
    kernel_tests(
        products,
        section,
        Flavour::Plain,
        "/bin/sh /crust/guest/selftests.sh",
    )
}

fn module(products: &Products, section: &mut Section) -> Result<()> {
    kernel_tests(
        products,
        section,
        Flavour::Plain,
        "/bin/sh /crust/guest/module.sh",
    )
}

fn kunit(products: &Products, section: &mut Section) -> Result<()> {
    let outcome = Guest::new(products, "kunit", Flavour::Debug)?
        .tree("guest", &products.path("qemu-test/guest"))?
        .run("/bin/sh /crust/guest/kunit.sh", |line| section.tap(line))?;
    judge(section, &outcome);
    Ok(())
}

fn stress(products: &Products, section: &mut Section) -> Result<()> {
    let job = format!(
        "/bin/sh /crust/guest/selftests.sh && /bin/sh /crust/guest/stress.sh {STRESS_SECONDS}"
    );
    kernel_tests(products, section, Flavour::Debug, &job)
}

fn fuzz(products: &Products, section: &mut Section) -> Result<()> {
    let job = format!(
        "/crust/fuzz/fuzz --self-test && /bin/sh /crust/guest/fuzz.sh --seconds {FUZZ_SECONDS}"
    );
    let outcome = Guest::new(products, "fuzz", Flavour::Debug)?
        .fuzz()?
        .run(&job, |line| section.tap(line))?;
    judge(section, &outcome);
    Ok(())
}

fn demo(products: &Products, section: &mut Section) -> Result<()> {
    let guest = Guest::new(products, "demo", Flavour::Plain)?
        .tool()?
        .demo()?;
    let outcome = guest.run(guest::DEMO, |line| println!("    {line}"))?;
    judge(section, &outcome);
    Ok(())
}

/// One boot whose programs test the kernel's part alone.
fn kernel_tests(
    products: &Products,
    section: &mut Section,
    flavour: Flavour,
    job: &str,
) -> Result<()> {
    let outcome = Guest::new(products, "kernel", flavour)?
        .tree("guest", &products.path("qemu-test/guest"))?
        .tree("selftests", &products.selftests()?)?
        .run(job, |line| section.tap(line))?;
    judge(section, &outcome);
    Ok(())
}

/// What a boot must also do: end by itself, with success unless a test has failed, and without a complaint.
fn judge(section: &mut Section, outcome: &Outcome) {
    let problem = match outcome.status() {
        Err(error) => Some(format!("{error:#}")),
        Ok(0) => None,
        Ok(_) if section.has_failed() => None,
        Ok(status) => Some(format!(
            "the job ended with status {status}, though no test failed"
        )),
    };
    section.check(
        "the guest ends well and its kernel did not complain",
        problem,
    );
}

/// A command that runs as root: the cases dump processes of other users too.
fn as_root(products: &Products) -> Command {
    if nix::unistd::geteuid().is_root() {
        // env(1) stands where sudo(8) would, so that the caller need not know.
        let mut command = products.command("/usr/bin/env");
        command.arg("--");
        command
    } else {
        products.command("/usr/bin/sudo")
    }
}
