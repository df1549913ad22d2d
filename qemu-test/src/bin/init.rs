// SPDX-License-Identifier: Apache-2.0 OR MIT
//! PID 1 of the guest: mounts what programs expect, loads the module, runs the job, reaps orphans, tells the host how
//! the job ended, powers off.
//!
//! The host talks to it by files of the initramfs (/crust/job, a shell script, and /crust/ckpt.ko) and by the kernel
//! command line; it answers through two virtio ports, crust.output and crust.status.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::{WaitStatus, wait};
use nix::unistd::{Pid, chdir, chroot, sync};

const ROOT: &str = "/newroot";

fn main() {
    if let Err(error) = guest() {
        // The console is a file on the host; without a status there the run has failed.
        eprintln!("init: {error:#}");
    }
    sync();
    // Returning from PID 1 would be a kernel panic. Powering off fails only without the right to.
    let _ = reboot(RebootMode::RB_POWER_OFF);
}

fn guest() -> Result<()> {
    fs::create_dir_all("/proc")?;
    filesystem("proc", "/proc", "proc", "")?;
    let line = fs::read_to_string("/proc/cmdline")?;
    let argument = |name: &str| {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(name).map(str::to_owned))
    };
    if argument("crust.probe").is_some() {
        println!("crust: probe passed");
        return Ok(());
    }
    enter_root().context("entering the root file system")?;
    mount_all()?;
    let job = start(argument("crust.terminal=").as_deref());
    let status = reap_until(job?)?;
    sync();
    let mut port = OpenOptions::new().write(true).open(port("crust.status")?)?;
    write!(port, "{status}")?;
    Ok(())
}

/// Makes the disk the root, with what the initramfs brought copied to /crust.
fn enter_root() -> Result<()> {
    fs::create_dir_all("/dev")?;
    filesystem("dev", "/dev", "devtmpfs", "")?;
    fs::create_dir_all(ROOT)?;
    filesystem("/dev/vda", ROOT, "ext4", "")?;
    copy_tree(Path::new("/crust"), &Path::new(ROOT).join("crust"))?;
    // As switch_root(8) does: the initramfs cannot be unmounted, only covered.
    chdir(ROOT)?;
    mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    chroot(".")?;
    chdir("/")?;
    Ok(())
}

fn mount_all() -> Result<()> {
    for (source, target, kind, options) in [
        ("proc", "/proc", "proc", ""),
        ("sys", "/sys", "sysfs", ""),
        ("dev", "/dev", "devtmpfs", ""),
        (
            "devpts",
            "/dev/pts",
            "devpts",
            "gid=5,mode=620,ptmxmode=666",
        ),
        ("shm", "/dev/shm", "tmpfs", ""),
        ("mqueue", "/dev/mqueue", "mqueue", ""),
        ("run", "/run", "tmpfs", "mode=755"),
        ("cgroup2", "/sys/fs/cgroup", "cgroup2", ""),
        ("results", "/results", "9p", "trans=virtio,version=9p2000.L"),
    ] {
        fs::create_dir_all(target)?;
        filesystem(source, target, kind, options)?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "fd/0"),
        ("stdout", "fd/1"),
        ("stderr", "fd/2"),
    ] {
        std::os::unix::fs::symlink(target, Path::new("/dev").join(name))?;
    }
    Ok(())
}

fn filesystem(source: &str, target: &str, kind: &str, options: &str) -> Result<()> {
    mount(
        Some(source),
        target,
        Some(kind),
        MsFlags::empty(),
        Some(options),
    )
    .with_context(|| format!("mounting {kind} at {target}"))
}

/// Prepares the guest and starts the job in a session of its own, with the terminal if there is one.
fn start(terminal: Option<&str>) -> Result<Pid> {
    nix::unistd::sethostname(fs::read_to_string("/etc/hostname")?.trim())?;
    let module = Path::new("/crust/ckpt.ko");
    if module.exists() {
        finit_module(&File::open(module)?, c"", ModuleInitFlags::empty())
            .context("loading ckpt.ko")?;
    }
    // As systemd has it: the kernel's own hard limit of 4096 is not what programs meet in practice.
    setrlimit(Resource::RLIMIT_NOFILE, 1024, 524_288)?;
    let path = "/crust/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
    let up = Command::new("/sbin/ip")
        .args(["link", "set", "lo", "up"])
        .status()?;
    anyhow::ensure!(
        up.success(),
        "the loopback interface does not come up: {up}"
    );

    let mut job = Command::new("/usr/bin/setsid");
    let output = match terminal {
        Some(kind) => {
            job.arg("--ctty").env("TERM", kind);
            PathBuf::from("/dev/hvc0")
        }
        None => {
            job.env("TERM", "dumb");
            port("crust.output")?
        }
    };
    let output = OpenOptions::new()
        .read(terminal.is_some())
        .write(true)
        .open(output)?;
    let input = if terminal.is_some() {
        Stdio::from(output.try_clone()?)
    } else {
        Stdio::null()
    };
    // Not the leader of its process group, so that setsid(1) need not fork and its pid is the job's.
    let job = job
        .args(["/bin/sh", "/crust/job"])
        .env("PATH", path)
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .stdin(input)
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()
        .context("starting the job")?;
    Ok(Pid::from_raw(i32::try_from(job.id())?))
}

/// Reaps whatever ends, as PID 1 must, until the job has; gives its exit status as a shell would.
fn reap_until(job: Pid) -> Result<i32> {
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, status)) if pid == job => return Ok(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == job => {
                return Ok(128 + signal as i32);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("waiting for the job"),
        }
    }
}

/// The device of a virtio port with this name.
fn port(name: &str) -> Result<PathBuf> {
    for entry in fs::read_dir("/sys/class/virtio-ports")? {
        let entry = entry?;
        let called = fs::read_to_string(entry.path().join("name")).unwrap_or_default();
        if called.trim() == name {
            return Ok(Path::new("/dev").join(entry.file_name()));
        }
    }
    anyhow::bail!("there is no virtio port {name}")
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_tree(&source, &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else {
            fs::copy(&source, &target).with_context(|| format!("copying {}", source.display()))?;
        }
    }
    Ok(())
}
