// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The processes below one, as `/proc` shows them.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// A process and all its descendants, itself first.
pub fn descendants(pid: i32) -> Vec<i32> {
    let mut all = vec![pid];
    let mut next = 0;
    while next < all.len() {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", all[next])) else {
            next += 1;
            continue;
        };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            all.extend(
                children
                    .split_whitespace()
                    .filter_map(|word| word.parse::<i32>().ok()),
            );
        }
        next += 1;
    }
    all
}

/// Whether a process of this number is there, be it a zombie.
pub fn exists(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) != Err(nix::errno::Errno::ESRCH)
}

/// Kills all that is left below this program, and reaps it.
pub fn kill_all_below_us() {
    let us = std::process::id() as i32;
    loop {
        let left: Vec<_> = descendants(us).into_iter().skip(1).collect();
        if left.is_empty() {
            return;
        }
        for pid in left {
            // Gone already is as good.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG | WaitPidFlag::__WALL)) {
            if status.pid().is_none() {
                std::thread::sleep(std::time::Duration::from_millis(2));
                break;
            }
        }
    }
}
