// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Killing a tree whose image is complete.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crust_model::Result;
use crust_sys::ptrace::{self, option};
use crust_sys::{RemoteAddr, memory, pidfd, wait, word};
use nix::errno::Errno;

use crate::freeze::Frozen;
use crate::frozen_process::FrozenProcess;
use crate::interrupt::Interrupts;
use crate::remote::{BLOCKED, Caller, Dispatch};

/// How long the parent of the root may take to wait for it.
const REAPING: Duration = Duration::from_secs(5);

impl Frozen {
    /// Kills the tree, and waits until all of its process ids are free again.
    ///
    /// The root is killed last. Before that it is made to adopt the children of all others, and to
    /// have the kernel reap them in its place: so nobody outside the tree has to reap any process
    /// but the root, and all others can be killed at the same time. Returns the processes that
    /// nobody has reaped.
    pub fn kill(mut self, interrupts: &Interrupts) -> Result<Vec<i32>> {
        // The image is complete: if crust is killed from here on, the whole tree must die, not half of
        // it. One thread is enough to take its process along; the others must not run in the meantime.
        let leaders = self.processes.iter().map(|process| process.pid);
        let options = self.processes.iter().fold(0, |all, one| all | one.options);
        for tid in leaders.chain(self.seized.iter().copied()) {
            let _ = ptrace::set_options(tid, options | option::EXITKILL);
        }
        if let Some((root, others)) = self.processes.split_first() {
            if !others.is_empty() {
                let reaper = Reaper::of(root);
                kill(others);
                if let Some(reaper) = reaper {
                    let left = others.iter().filter(|process| is_there(process.pid));
                    left.for_each(|child| reaper.wait_for(child));
                }
            }
            kill(std::slice::from_ref(root));
        }
        self.seized.clear();
        let deadline = Instant::now() + REAPING;
        let mut left: Vec<i32> = self.processes.iter().map(|process| process.pid).collect();
        let mut pause = Duration::from_micros(20);
        loop {
            left.retain(|&pid| is_there(pid));
            if left.is_empty() || Instant::now() > deadline || interrupts.check().is_err() {
                return Ok(left);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(5));
        }
    }
}

/// Kills processes, and waits for their ends as their tracer; only after that are their parents
/// notified.
fn kill(processes: &[FrozenProcess]) {
    let is_leader =
        |process: &FrozenProcess| process.leader().is_some_and(|it| it.tid == process.pid);
    for process in processes {
        if process.threads.len() > 1 && is_leader(process) {
            // The thread group leader owns the memory. If it exits first, the kernel searches for a new
            // owner among all the dying tasks, and soon has to search again
            // (kernel/exit.c:mm_update_next_owner).
            let options = process.options | option::EXITKILL | option::EXIT;
            let _ = ptrace::set_options(process.pid, options);
        }
        // A process that has already exited is fine too.
        let _ = pidfd::send_signal(process.pidfd.as_fd(), libc::SIGKILL, None);
    }
    for process in processes {
        // The exit of a leader is reported only when its other threads are gone.
        let leaders = usize::from(is_leader(process));
        for thread in &process.threads[leaders.min(process.threads.len())..] {
            await_end(thread.tid);
        }
        // The exit of a leader that had ended before is reported only if we were tracing it by then.
        await_end(process.pid);
    }
}

/// The root of a tree that is about to be killed, in its role as reaper of all others.
struct Reaper(Caller);

impl Reaper {
    /// Makes a process adopt the children of its descendants when these die, and ignore the exit of
    /// its own children: then the kernel reaps them itself (kernel/signal.c:do_notify_parent),
    /// including zombies whose parent dies, and children with another exit signal
    /// (kernel/exit.c:reparent_leader).
    fn of(root: &FrozenProcess) -> Option<Self> {
        let leader = root.leader()?;
        ptrace::set_signal_mask(leader.tid, BLOCKED).ok()?;
        Dispatch::suspend(leader.tid).ok()?;
        let caller = Caller {
            pid: root.pid,
            tid: leader.tid,
            instruction: root.syscall_insn?,
            template: leader.registers,
        };
        let adopt = [libc::PR_SET_CHILD_SUBREAPER as u64, 1];
        caller.raw("adopt orphans", libc::SYS_prctl, &adopt).ok()?;
        // struct kernel_sigaction. The contents of this stack are no longer needed.
        let action = RemoteAddr(caller.template.rsp & !15);
        let ignore: Vec<u8> = [libc::SIG_IGN as u64, 0, 0, 0]
            .into_iter()
            .flat_map(u64::to_ne_bytes)
            .collect();
        memory::write(caller.tid, action, &ignore).ok()?;
        let args = [libc::SIGCHLD as u64, action.0, 0, 8];
        caller
            .raw("ignore SIGCHLD", libc::SYS_rt_sigaction, &args)
            .ok()?;
        Some(Self(caller))
    }

    /// Waits for a dead child: one that was a zombie before, or that has another exit signal. If
    /// that fails, the child is left to the reaper of orphans.
    fn wait_for(&self, child: &FrozenProcess) {
        let flags = libc::__WALL | libc::WNOHANG;
        let args = [word::from_int(child.pid), 0, word::from_int(flags), 0];
        let _ = self.0.raw("wait for a dead child", libc::SYS_wait4, &args);
    }
}

/// Waits until a killed thread is gone.
fn await_end(tid: i32) {
    while let Ok((_, status)) = wait::wait(tid) {
        if status.is_end() {
            return;
        }
        let _ = ptrace::cont(tid, 0);
    }
}

/// Returns whether a process with this id exists, even as a zombie.
fn is_there(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}
