// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The end of a tree whose image is complete.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use crust_sys::ptrace::{self, option};
use crust_sys::{RemoteAddr, memory, pidfd, wait};
use nix::errno::Errno;

use crate::Result;
use crate::freeze::Frozen;
use crate::interrupt::Interrupts;
use crate::plan::ProcessId;
use crate::remote::{BLOCKED, Caller, Dispatch};
use crate::subject::FrozenProcess;

/// How long the parent of the root may take to wait for it.
const REAPING: Duration = Duration::from_secs(5);

impl Frozen {
    /// Kills the tree, and waits until every number of it is free.
    ///
    /// Children go before their parents, who are made to wait for them: so nobody outside has to,
    /// but for the root. Returns the processes that nobody has waited for.
    pub fn kill(mut self, interrupts: &Interrupts) -> Result<Vec<i32>> {
        // The image is complete: should crust be killed from here on, the whole tree goes, not half. One
        // thread is enough to take its process along; the others must not run in the meantime.
        let leaders = self.processes.iter().map(|process| process.pid);
        let options = self.processes.iter().fold(0, |all, one| all | one.options);
        for tid in leaders.chain(self.seized.iter().copied()) {
            let _ = ptrace::set_options(tid, options | option::EXITKILL);
        }
        let depths = self.depths();
        let deepest = depths.iter().copied().max().unwrap_or(0);
        for depth in (0..=deepest).rev() {
            let level = || {
                let all = self.processes.iter().zip(&depths);
                all.filter(|&(_, &of)| of == depth)
                    .map(|(process, _)| process)
            };
            let parents: BTreeSet<_> = level().filter_map(|process| process.parent).collect();
            for &parent in &parents {
                self.disown_children(parent);
            }
            for process in level() {
                if let Some(leader) = process.leader() {
                    // Gone already is as good.
                    let _ = pidfd::send_signal(leader.pidfd.as_fd(), libc::SIGKILL, None);
                }
            }
            // As their tracer we are told first, and only then their parents: of the leader when its
            // other threads are gone.
            for thread in level().flat_map(|process| process.threads.iter().rev()) {
                await_end(thread.tid);
            }
            let left: Vec<_> = level().filter(|process| is_there(process.pid)).collect();
            for child in left {
                self.wait_for(child);
            }
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

    /// How far each process is from the root.
    fn depths(&self) -> Vec<usize> {
        let mut depths = Vec::new();
        for process in &self.processes {
            let parent = process
                .parent
                .and_then(|parent| depths.get(parent.0 as usize));
            depths.push(parent.map_or(0, |depth: &usize| depth + 1));
        }
        depths
    }

    /// Has the kernel wait for the children of a process that is about to die itself: one call for
    /// all that tell of their end by `SIGCHLD`.
    fn disown_children(&self, parent: ProcessId) {
        const SIG_IGN: u64 = 1;
        let Some(caller) = self.doomed(parent) else {
            return;
        };
        // struct kernel_sigaction. Nobody will miss what is on this stack.
        let action = RemoteAddr(caller.template.rsp & !15);
        let ignore: Vec<u8> = [SIG_IGN, 0, 0, 0]
            .into_iter()
            .flat_map(u64::to_ne_bytes)
            .collect();
        if memory::write(caller.pid, action, &ignore).is_ok() {
            let args = [libc::SIGCHLD as u64, action.0, 0, 8];
            let _ = caller.raw("ignore SIGCHLD", libc::SYS_rt_sigaction, &args);
        }
    }

    /// Makes a process, which is about to die, wait for a dead child: one that was a zombie before, or
    /// that has another exit signal. What fails is left to the reaper of orphans.
    fn wait_for(&self, child: &FrozenProcess) {
        if let Some(caller) = child.parent.and_then(|parent| self.doomed(parent)) {
            let flags = libc::__WALL | libc::WNOHANG;
            let args = [child.pid as u64, 0, flags as u64, 0];
            let _ = caller.raw("wait for a dead child", libc::SYS_wait4, &args);
        }
    }

    /// A process as one that makes calls and does not go on afterwards.
    fn doomed(&self, process: ProcessId) -> Option<Caller> {
        let process = self.processes.get(process.0 as usize)?;
        let leader = process.leader()?;
        ptrace::set_signal_mask(leader.tid, BLOCKED).ok()?;
        Dispatch::suspend(leader.tid).ok()?;
        Some(Caller {
            pid: process.pid,
            tid: leader.tid,
            instruction: process.syscall_insn?,
            template: leader.registers,
        })
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

/// Whether a process of this number is there, be it a zombie.
fn is_there(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}
