// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Boots the patched kernel in QEMU and runs things in it: the demo, the tests, the benchmarks, a shell.
//!
//! What is booted is made by the scripts in `build/` ([`products`]); one boot is a [`guest::Guest`]; its PID 1 is
//! `bin/init.rs`. The top-level Makefile is the index of what this program can do.

mod accel;
mod check;
mod console;
mod guest;
mod initramfs;
mod products;
mod qemu;
mod report;
mod suite;
mod tap;

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Result, bail};

use accel::Accel;
use guest::Guest;
use products::{Flavour, Products};

const USAGE: &str = "usage: qemu-test COMMAND
  demo                 dump, kill and restore a real program in the guest, step by step
  test [SECTION...]    run the tests (all sections, or those named) and count them
  apps [ARG...]        dump and restore real programs in the guest
  bench [ARG...]       measure crust beside CRIU in the guest
  fuzz [--FLAVOUR] [ARG...]
                       fuzz the device in the guest, on the debug kernel and others that are there, or one
  alone                build and boot the kernel with one, two, ... patches of the series
  shell                an interactive guest with the tool and the module
  run [--debug|--kasan|--kcsan] CMD...
                       run a shell command in the guest; its exit status is the result
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&args) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("qemu-test: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<u8> {
    let products = Products::find()?;
    match args.split_first() {
        Some((command, [])) if command == "demo" => demo(&products),
        Some((command, sections)) if command == "test" => suite::run(&products, sections),
        Some((command, rest)) if command == "apps" => apps(&products, rest),
        Some((command, rest)) if command == "bench" => bench(&products, rest),
        Some((command, rest)) if command == "fuzz" => fuzz(&products, rest),
        Some((command, [])) if command == "alone" => alone(&products),
        Some((command, [])) if command == "shell" => shell(&products),
        Some((command, rest)) if command == "run" => run(&products, rest),
        _ => bail!("{USAGE}"),
    }
}

fn demo(products: &Products) -> Result<u8> {
    Guest::new(products, "demo", Flavour::Plain)?
        .tool()?
        .demo()?
        .run(guest::DEMO, |line| println!("{line}"))?
        .status()
}

/// The arguments go to the runner: names, `--mode kill`.
fn apps(products: &Products, args: &[String]) -> Result<u8> {
    let job = format!("{} {}", guest::APPS, quoted(args));
    Guest::new(products, "apps", Flavour::Plain)?
        .tool()?
        .apps()?
        .run(&job, |line| println!("{line}"))?
        .status()
}

/// The benchmark driver runs in the guest, where CRIU is installed; what it writes to /results is kept.
fn bench(products: &Products, args: &[String]) -> Result<u8> {
    let guest = Guest::new(products, "bench", Flavour::Plain)?
        .tool()?
        .file("bench/bench", &products.program("bench")?)?
        .tree(
            "bench/programs",
            &products.c_programs("qemu-test/bench", "guest")?,
        )?
        .memory(6144)
        .real_processors();
    println!("results: {}", guest.results().display());
    // Images go to memory: the disk of the host would be measured otherwise.
    let job = format!(
        "mount -t tmpfs -o size=80% images /mnt && cd /results && exec /crust/bench/bench --crust /crust/bin/crust \
         --criu /usr/sbin/criu --workload /crust/bench/programs/workload --out /mnt {}",
        quoted(args)
    );
    guest.run(&job, |line| println!("{line}"))?.status()
}

/// The arguments go to the fuzzer: `--seconds 60`, `--seed 7 --round 3`. It runs on the kernel that is named, or on the
/// debug kernel and those of other flavours that have been built. Of one that tells which of its lines run, it is said
/// how much of the series has run.
fn fuzz(products: &Products, args: &[String]) -> Result<u8> {
    let (named, args) = split_flavour(args);
    let flavours = match named {
        Some(flavour) => vec![flavour],
        None => [Flavour::Debug, Flavour::Kasan, Flavour::Kcsan]
            .into_iter()
            .filter(|&flavour| flavour == Flavour::Debug || products.has_kernel(flavour))
            .collect(),
    };
    let job = format!("exec /bin/sh /crust/guest/fuzz.sh {}", quoted(args));
    let mut worst = 0;
    for flavour in flavours {
        println!("# the {} kernel", flavour.name());
        let guest = Guest::new(products, "fuzz", flavour)?.fuzz()?;
        let results = guest.results();
        let status = guest.run(&job, |line| println!("{line}"))?.status()?;
        worst = worst.max(status);
        if results.join("coverage").exists() {
            products
                .command("qemu-test/fuzz/coverage")
                .arg("--missed")
                .arg(products.kernel_build(flavour)?)
                .arg(&results)
                .status()?;
        }
    }
    Ok(worst)
}

/// Whether each patch builds and boots without those behind it. Those that only add tests and documentation are not
/// built again.
fn alone(products: &Products) -> Result<u8> {
    let init = products.init()?;
    let directory = products.cache("alone");
    let mut failed = 0;
    for (index, name) in products.series()?.iter().enumerate() {
        let patch = std::fs::read_to_string(products.path("kernel-patches").join(name))?;
        let changes_code = patch
            .lines()
            .filter_map(|line| line.strip_prefix("+++ b/"))
            .any(|file| {
                !file.starts_with("Documentation/")
                    && !file.starts_with("tools/")
                    && file != "MAINTAINERS"
            });
        if !changes_code {
            continue;
        }
        let kernel = products.kernel_with(index + 1)?;
        let boots = Accel::Tcg.boots(&directory, &kernel, &init)?;
        println!(
            "{} - {name} builds and boots",
            if boots { "ok" } else { "not ok" }
        );
        failed += u8::from(!boots);
    }
    Ok(failed)
}

fn shell(products: &Products) -> Result<u8> {
    let guest = Guest::new(products, "shell", Flavour::Plain)?
        .tool()?
        .demo()?
        .cases()?;
    println!(
        "crust is in the path, /dev/ckpt is there, /results is {}; exit ends the guest",
        guest.results().display()
    );
    // The guest cannot ask for the size of our terminal; none is known if there is no terminal.
    let size = Command::new("stty")
        .arg("size")
        .stdin(Stdio::inherit())
        .output()?;
    let size = String::from_utf8(size.stdout)?;
    let stty = match size.split_whitespace().collect::<Vec<_>>()[..] {
        [rows, columns] => format!("stty rows {rows} columns {columns}; "),
        _ => String::new(),
    };
    guest
        .interactive(&format!("{stty}cd /root; exec bash -i"))?
        .status()
}

fn run(products: &Products, args: &[String]) -> Result<u8> {
    let (flavour, command) = split_flavour(args);
    let flavour = flavour.unwrap_or(Flavour::Plain);
    if command.is_empty() {
        bail!("{USAGE}");
    }
    Guest::new(products, "run", flavour)?
        .tool()?
        .demo()?
        .cases()?
        .run(&command.join(" "), |line| println!("{line}"))?
        .status()
}

/// A flag in front that is the name of a flavour, and the other arguments.
fn split_flavour(args: &[String]) -> (Option<Flavour>, &[String]) {
    let flavour = |flag: &String| {
        let named = |flavour: &Flavour| flag.strip_prefix("--") == Some(flavour.name());
        Flavour::ALL.into_iter().find(named)
    };
    match args.split_first() {
        Some((flag, rest)) => flavour(flag).map_or((None, args), |it| (Some(it), rest)),
        None => (None, args),
    }
}

/// Words as words of a shell command.
fn quoted(words: &[String]) -> String {
    let quote = |word: &String| format!("'{}'", word.replace('\'', r"'\''"));
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}
