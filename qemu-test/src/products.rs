// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is booted and run: each product is made, or found in the cache, by a script of `build/` that prints its path.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Which kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// As it is used.
    Plain,
    /// With lockdep, checks of lists and objects, faults that can be injected, and KUnit.
    Debug,
    /// The same, with KASAN: each access to memory is checked.
    Kasan,
    /// With KCSAN, which looks for data races, and nothing else.
    Kcsan,
}

impl Flavour {
    pub const ALL: [Flavour; 4] = [
        Flavour::Plain,
        Flavour::Debug,
        Flavour::Kasan,
        Flavour::Kcsan,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Flavour::Plain => "plain",
            Flavour::Debug => "debug",
            Flavour::Kasan => "kasan",
            Flavour::Kcsan => "kcsan",
        }
    }

    /// What a guest needs for its kernel beside what it needs for itself.
    pub fn memory_mib(self) -> u32 {
        match self {
            Flavour::Plain => 0,
            Flavour::Debug | Flavour::Kcsan => 1024,
            Flavour::Kasan => 2048,
        }
    }
}

/// The clone and the cache.
pub struct Products {
    top: PathBuf,
    cache: PathBuf,
}

impl Products {
    pub fn find() -> Result<Self> {
        let top = std::env::var_os("CRUST_TOP").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let top = top.canonicalize()?;
        if !top.join("qemu-test/build/lib.sh").exists() {
            bail!(
                "{} is not the top of the clone: start this program with make",
                top.display()
            );
        }
        let cache = match std::env::var_os("XDG_CACHE_HOME") {
            Some(directory) => PathBuf::from(directory),
            None => PathBuf::from(
                std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?,
            )
            .join(".cache"),
        };
        Ok(Products {
            top,
            cache: cache.join("crust"),
        })
    }

    /// A file of the clone.
    pub fn path(&self, name: &str) -> PathBuf {
        self.top.join(name)
    }

    /// A directory of the cache.
    pub fn cache(&self, name: &str) -> PathBuf {
        self.cache.join(name)
    }

    pub fn kernel(&self, flavour: Flavour) -> Result<PathBuf> {
        Ok(self.build("kernel", &[flavour.name()])?.join("bzImage"))
    }

    /// A plain kernel with the first patches of the series only.
    pub fn kernel_with(&self, patches: usize) -> Result<PathBuf> {
        let mut command = self.command("qemu-test/build/kernel");
        command.env("PATCHES", patches.to_string());
        Ok(finish(command, "kernel", &["plain"])?.join("bzImage"))
    }

    /// The names of the patches, in their order.
    pub fn series(&self) -> Result<Vec<String>> {
        let series = std::fs::read_to_string(self.path("kernel-patches/series"))?;
        Ok(series.lines().map(str::to_owned).collect())
    }

    pub fn module(&self, flavour: Flavour) -> Result<PathBuf> {
        Ok(self.build("module", &[flavour.name()])?.join("ckpt.ko"))
    }

    /// The series' kselftests as static programs.
    pub fn selftests(&self) -> Result<PathBuf> {
        self.build("selftests", &[])
    }

    /// The fuzzer of the device.
    pub fn fuzz(&self) -> Result<PathBuf> {
        self.build("fuzz", &[])
    }

    /// Whether some kernel of that flavour has been built, perhaps of other patches.
    pub fn has_kernel(&self, flavour: Flavour) -> bool {
        let prefix = format!("{}-", flavour.name());
        std::fs::read_dir(self.cache("kernel")).is_ok_and(|kernels| {
            kernels
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        })
    }

    /// Where the kernel of that flavour is built.
    pub fn kernel_build(&self, flavour: Flavour) -> Result<PathBuf> {
        self.build("kernel", &["--build-dir", flavour.name()])
    }

    pub fn guest_root(&self) -> Result<PathBuf> {
        self.build("guest-root", &[])
    }

    /// The root of a guest that has what real programs need.
    pub fn apps_root(&self) -> Result<PathBuf> {
        Ok(self.build("apps-root", &[])?.join("image"))
    }

    /// The real programs that are ours and have to be compiled.
    pub fn app_programs(&self) -> Result<PathBuf> {
        self.build("app-programs", &[])
    }

    /// The tool itself.
    pub fn tool(&self) -> Result<PathBuf> {
        Ok(self.build("program", &["userspace"])?.join("crust"))
    }

    /// PID 1 of the guest.
    pub fn init(&self) -> Result<PathBuf> {
        Ok(self.build("program", &["qemu-test"])?.join("init"))
    }

    /// The program of another package of this workspace, which has its name.
    pub fn program(&self, name: &str) -> Result<PathBuf> {
        Ok(self.build("program", &["qemu-test", name])?.join(name))
    }

    /// The C programs of a directory, compiled for the guest or for the host.
    pub fn c_programs(&self, directory: &str, place: &str) -> Result<PathBuf> {
        self.build("c-programs", &[directory, place])
    }

    /// A command in the clone.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.path(program));
        command.current_dir(&self.top);
        command
    }

    fn build(&self, script: &str, arguments: &[&str]) -> Result<PathBuf> {
        let command = self.command(&format!("qemu-test/build/{script}"));
        finish(command, script, arguments)
    }
}

/// Runs a script that makes something, and returns the path that it prints.
fn finish(mut command: Command, script: &str, arguments: &[&str]) -> Result<PathBuf> {
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("running qemu-test/build/{script}"))?;
    if !output.status.success() {
        bail!("building failed: {script} {}", arguments.join(" "));
    }
    let path = String::from_utf8(output.stdout)?;
    let path = Path::new(path.trim_end());
    if !path.is_absolute() {
        bail!("{script} printed no path");
    }
    Ok(path.to_owned())
}
