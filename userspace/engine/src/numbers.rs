// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Ids that are taken: those of processes and threads, of process groups, and of sessions, which
//! keep the id of a leader that is gone.

use std::cell::OnceCell;
use std::fs::{self, File};
use std::os::fd::AsFd;

use crust_proc::{Fields, Stat};
use crust_sys::fcntl::{self, Owner};
use nix::errno::Errno;
use nix::sys::signal::{kill, killpg};
use nix::unistd::Pid;

/// The ids in use on this machine.
#[derive(Default)]
pub struct Numbers {
    /// A file whose owner does not matter to anyone.
    file: OnceCell<Option<File>>,
    processes: OnceCell<Vec<(i32, Stat)>>,
}

impl Numbers {
    /// Returns a text that says who has an id; `None` if nobody has it, or its holder is just
    /// exiting.
    #[must_use]
    pub fn holder(&self, number: i32) -> Option<String> {
        if self.is_free(number) {
            return None;
        }
        let status = fs::read_to_string(format!("/proc/{number}/status"));
        if let Ok(status) = status.map(Fields::new) {
            let name = status.get("Name").unwrap_or_default();
            return Some(match status.number("Tgid") {
                Some(pid) if pid != i64::from(number) => {
                    format!("a thread of process {pid} ({name}) has this number now")
                }
                _ => format!("process {number} ({name}) has this number now"),
            });
        }
        for (field, what) in [(5, "process group"), (6, "session")] {
            let mut processes = self.processes().iter();
            let member = processes.find(|(_, stat)| stat.signed(field) == i64::from(number));
            if let Some((pid, stat)) = member {
                let name = String::from_utf8_lossy(&stat.comm);
                return Some(format!(
                    "it is the number of the {what} in which process {pid} ({name}) is now"
                ));
            }
        }
        // crust may not see all of /proc.
        let pid = Pid::from_raw(number);
        let is_there = [kill(pid, None), killpg(pid, None)]
            .iter()
            .any(|answer| *answer != Err(Errno::ESRCH));
        is_there
            .then(|| "a process or process group that crust cannot see has this number now".into())
    }

    /// Returns whether an id is unused: the kernel then rejects it as the owner of a file.
    fn is_free(&self, number: i32) -> bool {
        let file = self.file.get_or_init(|| File::open("/dev/null").ok());
        const PROCESS: i32 = 1;
        let owner = Owner {
            kind: PROCESS,
            pid: number,
        };
        file.as_ref()
            .is_some_and(|file| fcntl::set_owner(file.as_fd(), owner) == Err(Errno::ESRCH))
    }

    fn processes(&self) -> &[(i32, Stat)] {
        self.processes.get_or_init(|| {
            crust_proc::pids()
                .filter_map(|pid| {
                    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
                    Some((pid, Stat::parse(&stat)?))
                })
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_numbers() {
        let numbers = Numbers::default();
        let own = std::process::id() as i32;
        let holder = numbers.holder(own).unwrap();
        assert!(holder.starts_with(&format!("process {own} (")), "{holder}");
        let thread = nix::unistd::gettid().as_raw();
        let holder = numbers.holder(thread).unwrap();
        assert!(holder.starts_with(&format!("a thread of process {own} (")));
        let session = nix::unistd::getsid(None).unwrap().as_raw();
        assert!(session == 0 || numbers.holder(session).is_some());
        assert_eq!(numbers.holder(i32::MAX - 1), None);
    }
}
