// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One boot: what the guest gets, what it runs, and how that ended.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::accel::Accel;
use crate::console;
use crate::initramfs::Initramfs;
use crate::products::{Flavour, Products};
use crate::qemu;

/// How long the kernel takes a processor for one that works, in seconds: the host may be busy with other things for a
/// minute, and then the guest stands still. What is stuck for ever is stuck for longer.
const WATCHDOGS: &str = "watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=240";

/// How many boots' consoles and results are kept.
const KEPT_RUNS: usize = 20;

/// How long a guest may say nothing before it is called hung. What it runs has limits of its own for a single test,
/// which are shorter: so a test that hangs is one that fails. However long all of it takes, it goes on.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Runs the demo in a guest that has it.
pub const DEMO: &str = "exec python3 /crust/demo/drive.py";

/// Runs the cases in a guest that has them.
pub const CASES: &str = "exec /crust/cases/cases --crust /crust/bin/crust --programs /crust/cases/programs --out /tmp/cases";

/// Runs the applications in a guest that has them. Images go to memory, as /tmp does on a Debian of today.
pub const APPS: &str = "mount -t tmpfs -o mode=1777 tmp /tmp && exec /crust/apps/apps --crust /crust/bin/crust --apps /crust/apps \
     --programs /crust/apps/programs --programs /crust/apps/compiled --out /tmp/apps";

/// A guest that is about to boot.
pub struct Guest<'a> {
    products: &'a Products,
    archive: Initramfs,
    accel: Accel,
    kernel: PathBuf,
    /// Its root file system, if it is not the usual one.
    root: Option<PathBuf>,
    /// Console, output and results of this boot.
    directory: PathBuf,
    memory_mib: u32,
    processors: u32,
}

/// A guest that has ended.
pub struct Outcome {
    /// The exit status of what was run; none if the guest died before it told.
    exit: Option<u8>,
    /// The lines on which the kernel complained.
    pub complaints: Vec<String>,
    /// What PID 1 said when it gave up.
    reason: String,
    /// Where the console is.
    pub console: PathBuf,
}

impl<'a> Guest<'a> {
    /// A guest with this kernel and its module; `name` says in the cache which run it was.
    pub fn new(products: &'a Products, name: &str, flavour: Flavour) -> Result<Self> {
        let kernel = products.kernel(flavour)?;
        let module = products.module(flavour)?;
        let init = products.init()?;
        let mut accel = Accel::probe(&products.cache("accel"), &kernel, &init)?;
        if flavour == Flavour::Kcsan {
            accel = accel.parallel();
        }
        let mut archive = Initramfs::new();
        archive.file("/init", &init)?;
        archive.file("/crust/ckpt.ko", &module)?;
        let runs = products.cache("runs");
        fs::create_dir_all(&runs)?;
        prune(&runs)?;
        let directory = runs.join(format!("{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("results"))?;
        Ok(Guest {
            products,
            archive,
            accel,
            kernel,
            root: None,
            directory,
            memory_mib: 2048 + flavour.memory_mib(),
            processors: 2,
        })
    }

    /// The directory of the host that is /results in the guest.
    pub fn results(&self) -> PathBuf {
        self.directory.join("results")
    }

    pub fn memory(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Only as many processors as run at the same time. With more, who waits awake for another processor
    /// would keep it from running, and what is measured is for how long.
    pub fn real_processors(mut self) -> Self {
        if self.accel == Accel::Tcg {
            self.processors = 1;
        }
        self
    }

    /// Puts the tool into the guest's path.
    pub fn tool(self) -> Result<Self> {
        let tool = self.products.tool()?;
        self.file("bin/crust", &tool)
    }

    /// The demo's program and driver.
    pub fn demo(self) -> Result<Self> {
        let directory = self.products.path("qemu-test/demo");
        self.tree("demo", &directory)
    }

    /// The fuzzer of the device.
    pub fn fuzz(self) -> Result<Self> {
        let (program, scripts) = (self.products.fuzz()?, self.products.path("qemu-test/guest"));
        self.file("fuzz/fuzz", &program)?.tree("guest", &scripts)
    }

    /// The case programs and their runner.
    pub fn cases(self) -> Result<Self> {
        let runner = self.products.program("cases")?;
        let programs = self.products.c_programs("qemu-test/cases", "guest")?;
        self.file("cases/cases", &runner)?
            .tree("cases/programs", &programs)
    }

    /// Real programs and their runner, in a root that has what they need.
    pub fn apps(mut self) -> Result<Self> {
        let (products, apps) = (self.products, "qemu-test/apps");
        self.root = Some(products.apps_root()?);
        self.memory_mib = 6144;
        for entry in fs::read_dir(products.path(apps))? {
            let entry = entry?;
            let (file, name) = (entry.path(), entry.file_name());
            if file
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                self = self.file(&format!("apps/{}", name.to_string_lossy()), &file)?;
            }
        }
        self.file("apps/apps", &products.program("apps")?)?
            .tree("apps/programs", &products.path("qemu-test/apps/programs"))?
            .tree("apps/compiled", &products.app_programs()?)?
            .file("apps/compiled/tokio-app", &products.program("tokio-app")?)
    }

    /// Puts a file of the host at /crust/`path`.
    pub fn file(mut self, path: &str, source: &Path) -> Result<Self> {
        self.archive.file(&format!("/crust/{path}"), source)?;
        Ok(self)
    }

    /// Puts a directory of the host at /crust/`path`.
    pub fn tree(mut self, path: &str, source: &Path) -> Result<Self> {
        self.archive.tree(&format!("/crust/{path}"), source)?;
        Ok(self)
    }

    /// Boots, runs a shell script, and gives each line of its output to `line` as it comes.
    pub fn run(self, script: &str, line: impl FnMut(&str)) -> Result<Outcome> {
        let (mut qemu, directory) = self.boot(script, "virtserialport", "", |qemu| {
            // An input that had ended would close the port for the guest's output too.
            qemu.stdin(Stdio::piped()).stdout(Stdio::piped());
        })?;
        let output = qemu.0.stdout.take().context("QEMU has no output")?;
        if !each_line(output, PATIENCE, line) {
            drop(qemu);
            bail!(
                "the guest has said nothing for {} minutes; its console: {}",
                PATIENCE.as_secs() / 60,
                directory.console().display()
            );
        }
        let status = qemu.wait()?;
        directory.outcome(status)
    }

    /// Boots with a terminal.
    pub fn interactive(self, script: &str) -> Result<Outcome> {
        let term = std::env::var("TERM").unwrap_or_else(|_| "linux".to_owned());
        let (mut qemu, directory) = self.boot(
            script,
            "virtconsole",
            &format!("crust.terminal={term}"),
            |_| {},
        )?;
        let status = qemu.wait()?;
        directory.outcome(status)
    }

    fn boot(
        mut self,
        script: &str,
        port: &str,
        append: &str,
        stdio: impl FnOnce(&mut Command),
    ) -> Result<(Qemu, Directory)> {
        self.archive
            .content("/crust/job", 0o644, script.as_bytes())?;
        let directory = Directory(self.directory);
        let initrd = directory.0.join("initramfs.cpio");
        self.archive.write(&initrd)?;
        let root = match self.root {
            Some(root) => root,
            None => self.products.guest_root()?,
        };
        let more = std::env::var("APPEND").unwrap_or_default();
        // make passes on what is not set too.
        let processors = std::env::var("SMP").ok().filter(|words| !words.is_empty());
        let processors = processors.unwrap_or_else(|| self.processors.to_string());
        let mut qemu = qemu::command()?;
        qemu.args(self.accel.arguments())
            .args([
                "-machine",
                "q35",
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-no-reboot",
            ])
            .args(["-smp", &processors])
            .args(["-m", &self.memory_mib.to_string()])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(&initrd)
            .args([
                "-append",
                &format!("console=ttyS0 panic=-1 oops=panic {WATCHDOGS} {append} {more}"),
            ])
            // The kernel's messages.
            .args([
                "-chardev",
                &format!("file,id=console,path={}", comma(&directory.console())),
            ])
            .args(["-serial", "chardev:console"])
            // The root: what the guest writes goes to a temporary file of QEMU.
            .args([
                "-drive",
                &format!("if=virtio,format=raw,snapshot=on,file={}", comma(&root)),
            ])
            .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"])
            // What the script prints, or its terminal, is QEMU's own standard input and output.
            .args(["-chardev", "stdio,id=output,signal=off"])
            .args([
                "-device",
                &format!("{port},chardev=output,name=crust.output"),
            ])
            // How it ended.
            .args([
                "-chardev",
                &format!("file,id=status,path={}", comma(&directory.status())),
            ])
            .args(["-device", "virtserialport,chardev=status,name=crust.status"])
            // Files for the host.
            .args([
                "-fsdev",
                &format!(
                    "local,id=results,security_model=none,path={}",
                    comma(&directory.results())
                ),
            ])
            .args(["-device", "virtio-9p-pci,fsdev=results,mount_tag=results"]);
        stdio(&mut qemu);
        let child = qemu.spawn().context("starting QEMU")?;
        Ok((Qemu(child), directory))
    }
}

impl Outcome {
    /// The exit status of the run as a whole: that of the command, unless the kernel complained or died.
    pub fn status(&self) -> Result<u8> {
        for line in &self.complaints {
            eprintln!("the kernel complained: {line}");
        }
        if !self.complaints.is_empty() {
            bail!(
                "the kernel complained; its console: {}",
                self.console.display()
            );
        }
        self.exit.with_context(|| {
            format!(
                "the guest ended before its command did{}: {}",
                self.reason,
                self.console.display()
            )
        })
    }
}

/// Gives each line to `line` as it comes, up to the end; `false` if none comes for so long.
fn each_line(
    output: impl Read + Send + 'static,
    patience: Duration,
    mut line: impl FnMut(&str),
) -> bool {
    let (send, receive) = channel();
    let reader = thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut bytes = Vec::new();
        while output.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&bytes)
                .trim_end_matches(['\r', '\n'])
                .to_owned();
            bytes.clear();
            if send.send(text).is_err() {
                break;
            }
        }
    });
    loop {
        match receive.recv_timeout(patience) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
    let _ = reader.join();
    true
}

/// A running QEMU, which does not outlive us.
struct Qemu(Child);

impl Qemu {
    fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.0.wait()?)
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where one boot leaves its files.
struct Directory(PathBuf);

impl Directory {
    fn console(&self) -> PathBuf {
        self.0.join("console")
    }

    fn status(&self) -> PathBuf {
        self.0.join("status")
    }

    fn results(&self) -> PathBuf {
        self.0.join("results")
    }

    fn outcome(&self, qemu: ExitStatus) -> Result<Outcome> {
        if !qemu.success() {
            bail!("QEMU failed: {qemu}");
        }
        let _ = fs::remove_file(self.0.join("initramfs.cpio"));
        let console = console::read(&self.console())?;
        let status = fs::read_to_string(self.status()).unwrap_or_default();
        let said = console
            .lines()
            .filter_map(|line| line.strip_prefix("init: "));
        Ok(Outcome {
            reason: said.map(|line| format!(" ({line})")).collect(),
            exit: status.trim().parse().ok(),
            complaints: console::complaints(&console)
                .into_iter()
                .map(str::to_owned)
                .collect(),
            console: self.console(),
        })
    }
}

/// A path in an option of QEMU: commas separate its parts and are doubled inside one.
fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// Removes all but the newest runs.
fn prune(runs: &Path) -> Result<()> {
    let mut all = Vec::new();
    for entry in fs::read_dir(runs)? {
        let entry = entry?;
        all.push((entry.metadata()?.modified()?, entry.path()));
    }
    all.sort();
    let surplus = all.len().saturating_sub(KEPT_RUNS);
    for (_, path) in &all[..surplus] {
        let _ = fs::remove_dir_all(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn silence_is_a_failure_and_an_end_is_none() {
        let (mut guest, output) = UnixStream::pair().unwrap();
        guest.write_all(b"one\r\ntwo\nth").unwrap();
        let mut seen = Vec::new();
        let long = Duration::from_millis(200);
        assert!(!each_line(output.try_clone().unwrap(), long, |line| {
            seen.push(line.to_owned());
        }));
        assert_eq!(seen, ["one", "two"]);
        drop((guest, output));

        let (mut guest, output) = UnixStream::pair().unwrap();
        guest.write_all(b"all").unwrap();
        drop(guest);
        seen.clear();
        assert!(each_line(output, Duration::MAX, |line| {
            seen.push(line.to_owned())
        }));
        assert_eq!(seen, ["all"]);
    }

    #[test]
    fn patience_begins_anew_with_each_line() {
        let (mut guest, output) = UnixStream::pair().unwrap();
        let patience = Duration::from_secs(4);
        let speaker = thread::spawn(move || {
            for _ in 0..6 {
                thread::sleep(patience / 4);
                guest.write_all(b"line\n").unwrap();
            }
        });
        let mut lines = 0;
        assert!(each_line(output, patience, |_| lines += 1));
        assert_eq!(lines, 6);
        speaker.join().unwrap();
    }
}
