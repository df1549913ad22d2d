// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `check`: what this kernel lacks, and what each missing feature costs.
//!
//! Every feature is tested on the kernel itself, not guessed from its version: distributions
//! configure and backport, and sandboxes filter.

use std::fs;

use crust_sys::device::{Device, Known};
use crust_sys::{RemoteAddr, kcmp, pagemap, pidfd, probe, uapi};
use crust_tracee::privileges::{Privileges, capability};
use nix::errno::Errno;
use nix::sys::utsname::uname;
use serde::Serialize;

/// How much it matters that a feature is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// The module provides it for a future use of crust; nothing uses it yet.
    Unused,
    /// Some programs cannot be carried over, or not all of their state.
    Wanted,
    /// Nothing works without it.
    Required,
}

/// A feature that crust uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The name of the feature.
    pub name: &'static str,
    /// How much the feature matters.
    pub need: Need,
    /// Whether it is present.
    pub present: bool,
    /// What its absence costs.
    pub cost: &'static str,
    /// How to get it.
    pub remedy: &'static str,
}

impl Item {
    fn unused(self) -> Self {
        Self {
            need: Need::Unused,
            ..self
        }
    }
}

/// The findings of `check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Findings {
    /// The release of the running kernel.
    pub kernel: String,
    /// Whether `/dev/ckpt` exists, and may be used.
    pub module: bool,
    /// Whether everything that is required is present.
    pub works: bool,
    /// Whether nothing is missing that is used.
    pub looks_good: bool,
    /// All features that were tested, the required ones first.
    pub items: Vec<Item>,
}

impl Findings {
    /// Returns the missing features that are used.
    pub fn missing(&self) -> impl Iterator<Item = &Item> {
        let misses = |item: &&Item| !item.present && item.need > Need::Unused;
        self.items.iter().filter(misses)
    }
}

/// Tests the features of this machine. Nothing is changed.
#[must_use]
pub fn check() -> Findings {
    let module = Device::open();
    let mut items = required();
    items.extend(wanted());
    items.extend(module_items(module.as_ref()));
    let missing = |need| {
        items
            .iter()
            .any(|item: &Item| !item.present && item.need >= need)
    };
    Findings {
        kernel: uname().map_or_else(
            |_| "unknown".into(),
            |names| names.release().to_string_lossy().into_owned(),
        ),
        module: module.is_ok(),
        works: !missing(Need::Required),
        looks_good: !missing(Need::Wanted),
        items,
    }
}

fn required() -> Vec<Item> {
    let item = |name, present, cost, remedy| Item {
        name,
        need: Need::Required,
        present,
        cost,
        remedy,
    };
    vec![
        item(
            "privileges",
            capable(capability::REQUIRED),
            "neither the memory nor the credentials of a program can be saved or brought back",
            "run crust as root, outside of a container that drops capabilities",
        ),
        item(
            "ptrace",
            read("/proc/sys/kernel/yama/ptrace_scope").is_none_or(|scope| scope != "3"),
            "no process can be stopped and read",
            "boot with kernel.yama.ptrace_scope below 3; it cannot be lowered on a running system",
        ),
        item(
            "clone3",
            probe::clone3(),
            "processes cannot get their old pids",
            "use Linux 5.5 or newer, and run crust where no filter forbids the call",
        ),
        item(
            "pidfd_getfd",
            pidfd_getfd(),
            "open files cannot be read or passed between processes",
            "use Linux 5.6 or newer, and run crust where no filter forbids the call",
        ),
        item(
            "process_vm_readv",
            probe::process_vm_readv(),
            "memory cannot be read",
            "use a kernel with CONFIG_CROSS_MEMORY_ATTACH",
        ),
        item(
            "kcmp",
            kcmp::files((own_pid(), 0), (own_pid(), 0)) != Err(Errno::ENOSYS),
            "open files that descriptors share cannot be told from files that were opened twice",
            "use a kernel with CONFIG_KCMP",
        ),
        item(
            "/proc/PID/task/TID/children",
            fs::exists(format!("/proc/self/task/{}/children", own_pid())).unwrap_or(false),
            "the processes of a tree cannot be found",
            "use a kernel with CONFIG_PROC_CHILDREN",
        ),
        item(
            "PR_SET_MM_MAP",
            probe::set_mm_map(),
            "heap, command line and executable of a process cannot be set",
            "use a kernel with CONFIG_CHECKPOINT_RESTORE",
        ),
    ]
}

fn wanted() -> Vec<Item> {
    let item = |name, present, cost, remedy| Item {
        name,
        need: Need::Wanted,
        present,
        cost,
        remedy,
    };
    vec![
        item(
            "CAP_SYS_RESOURCE",
            capable(capability::SYS_RESOURCE),
            "limits above the hard limits of crust, and an oom_score_adj below its own, cannot be restored",
            "run crust with all capabilities",
        ),
        item(
            "CAP_SYS_NICE",
            capable(capability::SYS_NICE),
            "raised and real-time priorities cannot be restored",
            "run crust with all capabilities",
        ),
        item(
            "PTRACE_O_SUSPEND_SECCOMP",
            Privileges::own().can_suspend_filters(),
            "programs whose system calls are filtered (seccomp) are refused",
            "use a kernel with CONFIG_SECCOMP, and run crust as root of the machine, without filters of its own",
        ),
        item(
            "PAGEMAP_SCAN",
            pagemap_scan(),
            "large reserved ranges of memory take long to dump",
            "use Linux 6.7 or newer",
        ),
        item(
            "PIDFD_THREAD",
            pidfd::open_thread(own_pid()).is_ok(),
            "threads are addressed by number, which is less safe when they end meanwhile",
            "use Linux 6.9 or newer",
        ),
        item(
            "/proc/PID/timers",
            fs::exists("/proc/self/timers").unwrap_or(false),
            "POSIX timers are not seen, and are lost",
            "use a kernel with CONFIG_POSIX_TIMERS and CONFIG_CHECKPOINT_RESTORE",
        ),
        item(
            "PR_TIMER_CREATE_RESTORE_IDS",
            probe::timer_ids(),
            "programs with POSIX timers cannot be restored",
            "use Linux 6.15 or newer",
        ),
        item(
            "MADV_GUARD_INSTALL",
            probe::guard_pages(),
            "images of programs with guard pages, made on a newer kernel, cannot be restored",
            "use Linux 6.13 or newer",
        ),
        item(
            "mseal",
            probe::mseal(),
            "images of programs with sealed memory, made on a newer kernel, cannot be restored",
            "use Linux 6.10 or newer",
        ),
    ]
}

/// Returns one line for each request of the module, or one reason for all of them.
fn module_items(device: Result<&Device, &Errno>) -> Vec<Item> {
    vec![
        request::<uapi::SetPid>(
            device,
            "ckpt: SET_PID",
            "nothing: clone3 makes tasks with their pids, without the module",
        )
        .unused(),
        request::<uapi::SetIds>(
            device,
            "ckpt: SET_IDS",
            "sessions and groups that setsid and setpgid cannot make again are refused: some of those whose \
             leader has ended or is outside of the tree",
        ),
        request::<uapi::SetStart>(
            device,
            "ckpt: SET_START",
            "start times are lost: to ps, systemd and polkit a restored process is a new one",
        ),
        request::<uapi::Usage>(
            device,
            "ckpt: ADD_USAGE",
            "CPU times and page faults, also of children, are counted from zero on",
        ),
        request::<uapi::Sigactions>(
            device,
            "ckpt: SIGACTIONS",
            "the program is made to execute system calls while it is dumped, to tell its signal actions",
        ),
        request::<uapi::Thread>(
            device,
            "ckpt: THREAD",
            "a call with a time limit, such as a sleep, goes on with the time that was left only where the \
             scheduler tells since when it waits (mostly); else it gets all of its time again, or returns EINTR",
        ),
        request::<uapi::Process>(
            device,
            "ckpt: PROCESS",
            "the program is made to execute system calls while it is dumped, to tell its state; \
             CLONE_AUTOREAP is lost",
        ),
        request::<uapi::Tcp>(
            device,
            "ckpt: TCP",
            "nothing yet: TCP connections are not carried over",
        )
        .unused(),
        request::<uapi::Messages>(
            device,
            "ckpt: MESSAGES",
            "nothing yet: messages of Unix sockets are read by their descriptors",
        )
        .unused(),
    ]
}

fn request<T: uapi::Request>(
    device: Result<&Device, &Errno>,
    name: &'static str,
    cost: &'static str,
) -> Item {
    let known = device.map(Device::knows::<T>);
    let remedy = match known {
        Ok(Known::Yes | Known::No) => "load a newer ckpt.ko",
        Ok(Known::Otherwise(_)) => {
            "load the ckpt.ko of this crust: the one that is loaded is another module"
        }
        Err(Errno::ENOENT) => {
            "boot a kernel with the patches of crust, and load ckpt.ko (kernel-patches/README.md)"
        }
        Err(Errno::EACCES | Errno::EPERM) => "run crust as root, who alone may open /dev/ckpt",
        Err(_) => "look into the kernel's log: /dev/ckpt exists, but cannot be opened",
    };
    Item {
        name,
        need: Need::Wanted,
        present: known == Ok(Known::Yes),
        cost,
        remedy,
    }
}

fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// Returns whether the effective capabilities include all of these.
fn capable(wanted: u64) -> bool {
    Privileges::own().effective & wanted == wanted
}

fn pidfd_getfd() -> bool {
    pidfd::open(own_pid()).is_ok_and(|own| {
        use std::os::fd::AsFd;
        // A process may take any descriptor of itself; only whether the call is known matters.
        !matches!(
            pidfd::get_fd(own.as_fd(), i32::MAX),
            Err(Errno::ENOSYS | Errno::EPERM)
        )
    })
}

fn pagemap_scan() -> bool {
    let query = pagemap::Query {
        any_of: pagemap::category::PRESENT,
        ..Default::default()
    };
    let mut regions = [pagemap::PageRegion::default(); 1];
    fs::File::open("/proc/self/pagemap").is_ok_and(|file| {
        let end = RemoteAddr(4096);
        pagemap::scan(&file, RemoteAddr(0), end, &query, &mut regions).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_follows_from_the_items() {
        let findings = check();
        assert_eq!(findings.looks_good, findings.missing().count() == 0);
        let required = |item: &&Item| item.need == Need::Required;
        assert_eq!(
            findings.works,
            findings.missing().filter(required).count() == 0
        );
        assert!(!findings.looks_good || findings.module);
    }

    #[test]
    fn without_the_module_every_request_has_its_price() {
        let items = module_items(Err(&Errno::ENOENT));
        assert!(items.iter().all(|item| !item.present));
        assert!(items.iter().all(|item| item.remedy.contains("ckpt.ko")));
    }
}
