// SPDX-License-Identifier: Apache-2.0 OR MIT
//! KVM where it works, else emulation.
//!
//! `/dev/kvm` may exist and not work (in a sandbox or a nested guest), so the question is answered by a boot: PID 1
//! reports and powers off. The answer holds until the host boots again.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::initramfs::Initramfs;
use crate::qemu;

/// How long the kernel may say nothing: on a working KVM it does not for well under a second,
const PATIENCE: Duration = Duration::from_secs(20);
/// and emulated for a few.
const PATIENCE_EMULATED: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accel {
    Kvm,
    Tcg,
    /// Emulation in which processors of the guest run at the same time.
    ParallelTcg,
}

impl Accel {
    /// QEMU's arguments. TCG gets one host thread for all processors: with one thread each it has a rare bug, in
    /// which a guest processor executes a half-patched jump label and the kernel oopses. Without `erms` the
    /// kernel copies words, which is emulated word by word; `rep movsb` is, byte by byte.
    pub fn arguments(self) -> [&'static str; 4] {
        match self {
            Accel::Kvm => ["-accel", "kvm", "-cpu", "host"],
            Accel::Tcg => ["-accel", "tcg,thread=single", "-cpu", "max,-erms"],
            Accel::ParallelTcg => ["-accel", "tcg,thread=multi", "-cpu", "max,-erms"],
        }
    }

    /// The one in which data races happen.
    pub fn parallel(self) -> Accel {
        match self {
            Accel::Tcg => Accel::ParallelTcg,
            other => other,
        }
    }

    /// Finds out which one to use; `directory` keeps the answer.
    pub fn probe(directory: &Path, kernel: &Path, init: &Path) -> Result<Accel> {
        if !Path::new("/dev/kvm").exists() {
            return Ok(Accel::Tcg);
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let answer = directory.join(format!("kvm-{}", boot.trim()));
        fs::create_dir_all(directory)?;
        let works = match fs::read_to_string(&answer) {
            Ok(text) => text == "works",
            Err(_) => {
                let works = Accel::Kvm.boots(directory, kernel, init)?;
                eprintln!(
                    "  {:<8} {}",
                    "KVM",
                    if works {
                        "works"
                    } else {
                        "does not work here; emulating"
                    }
                );
                fs::write(&answer, if works { "works" } else { "does not work" })?;
                works
            }
        };
        Ok(if works { Accel::Kvm } else { Accel::Tcg })
    }

    /// Whether a guest gets as far as PID 1, and its kernel does not complain. Its console stays in `directory`.
    pub fn boots(self, directory: &Path, kernel: &Path, init: &Path) -> Result<bool> {
        fs::create_dir_all(directory)?;
        let (initrd, console) = (
            directory.join("probe.cpio"),
            directory.join("probe.console"),
        );
        let mut archive = Initramfs::new();
        archive.file("/init", init)?;
        archive.write(&initrd)?;
        let mut qemu = qemu::command()?
            .args(self.arguments())
            .args([
                "-nodefaults",
                "-display",
                "none",
                "-no-reboot",
                "-m",
                "1024",
                "-serial",
                "stdio",
            ])
            .args(["-append", "console=ttyS0 panic=-1 crust.probe"])
            .arg("-kernel")
            .arg(kernel)
            .arg("-initrd")
            .arg(&initrd)
            .stdin(Stdio::null())
            .stdout(File::create(&console)?)
            .stderr(Stdio::null())
            .spawn()?;
        let patience = match self {
            Accel::Kvm => PATIENCE,
            Accel::Tcg | Accel::ParallelTcg => PATIENCE_EMULATED,
        };
        let (mut said, mut since) = (0, Instant::now());
        while qemu.try_wait()?.is_none() && since.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(50));
            let says = fs::metadata(&console)?.len();
            if says != said {
                // One that complains may do so for ever.
                if !crate::console::complaints(&crate::console::read(&console)?).is_empty() {
                    break;
                }
                (said, since) = (says, Instant::now());
            }
        }
        // A guest that has powered off is gone; one that KVM failed to run stands still.
        let _ = qemu.kill();
        qemu.wait()?;
        let said = crate::console::read(&console)?;
        Ok(said.contains("crust: probe passed") && crate::console::complaints(&said).is_empty())
    }
}
