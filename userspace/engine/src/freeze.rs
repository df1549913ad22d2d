// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Stopping a whole tree of processes, and letting it go.
//!
//! Every thread is seized with ptrace and interrupted; threads and children are listed again until
//! nothing new appears, for what is not stopped yet may still fork. [`Frozen`] holds the tree: dropped,
//! it lets every task go on as it was. Should crust be killed, the kernel does the same.

use std::collections::HashSet;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use crust_sys::ptrace::{self, UserRegs, event, option};
use crust_sys::wait::{self, Status};
use crust_sys::{RemoteAddr, memory, pidfd};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use crate::interrupt::Interrupts;
use crate::plan::ProcessId;
use crate::procfs;
use crate::refusal::Refusals;
use crate::remote::{BLOCKED, Caller};
use crate::subject::{FrozenProcess, FrozenThread};
use crate::{Error, Result};

/// How long a thread may take to stop. One that takes longer is in a wait that nothing can
/// interrupt.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the parent of the root may take to wait for it.
const REAPING: Duration = Duration::from_secs(5);

/// A tree whose threads all stand still.
#[derive(Debug)]
pub struct Frozen {
    /// Its processes, parents before their children.
    pub processes: Vec<FrozenProcess>,
    /// When the first thread was about to stop.
    pub since: Instant,
    /// What has to be detached.
    seized: Vec<i32>,
}

impl Frozen {
    /// Stops the tree below `pid`.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] for what can never be stopped or read: a task that another program traces,
    /// a 32-bit task, a process whose leader has exited, crust itself. [`Error::Interrupted`].
    /// Whatever the error is, everything runs again.
    pub fn tree(pid: i32, interrupts: &Interrupts) -> Result<Self> {
        let mut frozen = Self {
            processes: Vec::new(),
            since: Instant::now(),
            seized: Vec::new(),
        };
        let mut known = HashSet::from([pid]);
        let mut vanished = false;
        let Some(root) = frozen.process(pid, None, interrupts, &mut vanished)? else {
            return Err(Error::task(pid, "find the process", Errno::ESRCH));
        };
        frozen.processes.push(root);
        let mut next = 0;
        while next < frozen.processes.len() {
            let parent = &frozen.processes[next];
            let id = parent.id;
            for child in children(parent)? {
                if !known.insert(child) {
                    continue;
                }
                if let Some(process) = frozen.process(child, Some(id), interrupts, &mut vanished)? {
                    frozen.processes.push(process);
                }
            }
            next += 1;
            // Children of a process that died meanwhile may belong to one that we have seen.
            if next == frozen.processes.len() && std::mem::take(&mut vanished) {
                next = 0;
            }
        }
        Ok(frozen)
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads(&self) -> u64 {
        self.processes
            .iter()
            .map(|process| process.threads.len() as u64)
            .sum()
    }

    /// Lets the tree go on.
    pub fn release(mut self) {
        self.detach();
    }

    /// Lets the tree go on into a stop (`--leave-stopped`): `SIGCONT` ends it.
    pub fn release_stopped(mut self) {
        for process in &self.processes {
            if let Some(leader) = process.leader() {
                let _ = pidfd::send_signal(leader.pidfd.as_fd(), libc::SIGSTOP, None);
            }
        }
        self.detach();
    }

    /// Kills the tree, and waits until every number of it is free.
    ///
    /// Children go before their parents, who are made to wait for them: so nobody outside has to,
    /// but for the root. Returns the processes that nobody has waited for.
    pub fn kill(mut self, interrupts: &Interrupts) -> Result<Vec<i32>> {
        let depths = self.depths();
        let deepest = depths.iter().copied().max().unwrap_or(0);
        for depth in (0..=deepest).rev() {
            let level = || {
                let all = self.processes.iter().zip(&depths);
                all.filter(|&(_, &of)| of == depth)
                    .map(|(process, _)| process)
            };
            for process in level() {
                self.wait_for_children(process);
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

    /// Makes a process, which is about to die, wait for its dead children. What fails is left to the
    /// reaper of orphans.
    fn wait_for_children(&self, process: &FrozenProcess) {
        let children = self
            .processes
            .iter()
            .filter(|child| child.parent == Some(process.id));
        let mut children = children.peekable();
        if children.peek().is_none() {
            return;
        }
        let (Some(leader), Some(instruction)) = (process.leader(), process.syscall_insn) else {
            return;
        };
        let caller = Caller {
            pid: process.pid,
            tid: leader.tid,
            instruction,
            template: leader.registers,
        };
        let _ = ptrace::set_signal_mask(leader.tid, BLOCKED);
        for child in children {
            let flags = libc::__WALL | libc::WNOHANG;
            let args = [child.pid as u64, 0, flags as u64, 0];
            if caller
                .raw("wait for a dead child", libc::SYS_wait4, &args)
                .is_err()
            {
                return;
            }
        }
    }

    fn detach(&mut self) {
        for tid in self.seized.drain(..) {
            // It can only have died.
            let _ = ptrace::detach(tid, 0);
        }
    }

    /// Stops one process. `None`: it is gone.
    fn process(
        &mut self,
        pid: i32,
        parent: Option<ProcessId>,
        interrupts: &Interrupts,
        vanished: &mut bool,
    ) -> Result<Option<FrozenProcess>> {
        if pid == std::process::id() as i32 {
            return refuse(
                pid,
                "process",
                "crust itself is in the tree that it should stop",
                "run crust from outside of that tree, for example from another terminal",
            );
        }
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let path = format!("/proc/{pid}");
        let proc = match open(path.as_str(), flags, Mode::empty()) {
            Ok(proc) => proc,
            Err(Errno::ENOENT) => {
                *vanished = true;
                return Ok(None);
            }
            Err(errno) => return Err(Error::task(pid, format!("open {path}"), errno)),
        };
        let mut process = FrozenProcess {
            id: ProcessId(self.processes.len() as u32),
            pid,
            parent,
            proc,
            threads: Vec::new(),
            zombie: None,
            stopped: None,
            syscall_insn: None,
        };
        loop {
            let mut new = Vec::new();
            for tid in numbers(&process.proc, pid, "task")? {
                if process.threads.iter().any(|thread| thread.tid == tid) {
                    continue;
                }
                match self.seize(&process, tid)? {
                    Seized::Yes => new.push(tid),
                    Seized::Gone => *vanished = true,
                    Seized::Zombie(status) => {
                        process.zombie = Some(status);
                        return Ok(Some(process));
                    }
                }
            }
            if new.is_empty() {
                break;
            }
            for tid in new {
                if let Some(thread) = self.await_stop(&mut process, tid, interrupts)? {
                    process.threads.push(thread);
                } else {
                    *vanished = true;
                }
            }
        }
        if process.threads.is_empty() {
            *vanished = true;
            return Ok(None);
        }
        process
            .threads
            .sort_by_key(|thread| (thread.tid != pid, thread.tid));
        if process.threads[0].tid != pid {
            return refuse(
                pid,
                "process",
                "its first thread has exited while others go on; such a process cannot be made again",
                "end the program's main thread last",
            );
        }
        process.syscall_insn = syscall_instruction(&process)?;
        Ok(Some(process))
    }

    /// Begins to trace a thread, and asks it to stop.
    fn seize(&mut self, process: &FrozenProcess, tid: i32) -> Result<Seized> {
        let result = match ptrace::seize(tid, option::SYSGOOD | option::SUSPEND_SECCOMP) {
            // Without CAP_SYS_ADMIN, or under a seccomp filter of our own.
            Err(Errno::EPERM | Errno::EINVAL) => ptrace::seize(tid, option::SYSGOOD),
            result => result,
        };
        match result {
            Ok(()) => {}
            Err(Errno::ESRCH) => return Ok(Seized::Gone),
            Err(Errno::EPERM) => return cannot_seize(process, tid),
            Err(errno) => return Err(Error::task(tid, "PTRACE_SEIZE", errno)),
        }
        self.seized.push(tid);
        match ptrace::interrupt(tid) {
            // It is dying; the wait will tell.
            Ok(()) | Err(Errno::ESRCH) => Ok(Seized::Yes),
            Err(errno) => Err(Error::task(tid, "PTRACE_INTERRUPT", errno)),
        }
    }

    /// Waits until a thread stands still. `None`: it has died instead.
    fn await_stop(
        &mut self,
        process: &mut FrozenProcess,
        tid: i32,
        interrupts: &Interrupts,
    ) -> Result<Option<FrozenThread>> {
        let failed = |errno| Error::task(tid, "wait for it to stop", errno);
        let deadline = Instant::now() + PATIENCE;
        let stopped = interrupts.wait_for(deadline, PATIENCE, || {
            loop {
                match wait::poll(tid).map_err(failed)? {
                    None => return Ok(None),
                    Some((
                        _,
                        Status::Stopped {
                            signal,
                            event: event::STOP,
                        },
                    )) => {
                        return Ok(Some(Some(signal)));
                    }
                    // It was just getting a signal: let it have it.
                    Some((_, Status::Stopped { signal, event: 0 })) => {
                        ptrace::cont(tid, signal).map_err(failed)?;
                    }
                    Some((_, Status::Stopped { .. } | Status::Continued)) => {
                        ptrace::cont(tid, 0).map_err(failed)?;
                    }
                    Some(_) => return Ok(Some(None)),
                }
            }
        })?;
        let Some(stopped) = stopped else {
            return refuse(
                tid,
                format!("thread {tid}"),
                format!(
                    "it did not stop within {} s: it waits in the kernel for something that nothing \
                     can interrupt, as a disk, or a vfork child that has not executed its program",
                    PATIENCE.as_secs()
                ),
                "try again later; /proc/PID/stack shows where it waits",
            );
        };
        let Some(signal) = stopped else {
            self.seized.retain(|&seized| seized != tid);
            return Ok(None);
        };
        if signal != libc::SIGTRAP {
            process.stopped = Some(signal);
        }
        let registers = match ptrace::registers(tid) {
            Ok(registers) if registers.cs == USER_CODE_64 => registers,
            Ok(_) | Err(Errno::ENOEXEC) => {
                return refuse(
                    tid,
                    format!("thread {tid}"),
                    "it runs 32-bit code",
                    "only 64-bit programs are supported yet",
                );
            }
            Err(errno) => return Err(failed(errno)),
        };
        let registers = leave_critical_section(tid, registers).map_err(failed)?;
        let registers = make_call_again(process, tid, registers)?;
        Ok(Some(FrozenThread {
            tid,
            pidfd: thread_pidfd(process.pid, tid)
                .map_err(|errno| Error::task(tid, "pidfd_open", errno))?,
            registers,
        }))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.detach();
    }
}

/// The code segment of 64-bit user mode (`__USER_CS`, arch/x86/include/asm/segment.h).
const USER_CODE_64: u64 = 0x33;

enum Seized {
    Yes,
    Gone,
    /// With this exit status.
    Zombie(i32),
}

fn refuse<T>(
    task: i32,
    object: impl Into<String>,
    why: impl Into<String>,
    remedy: impl Into<String>,
) -> Result<T> {
    let mut refusals = Refusals::default();
    refusals.block(task, object, why, remedy);
    Err(Error::Refused(refusals.into_vec()))
}

/// Why a thread may not be traced.
fn cannot_seize(process: &FrozenProcess, tid: i32) -> Result<Seized> {
    let name = format!("task/{tid}/status");
    let status = match procfs::read_text(&process.proc, tid, &name) {
        Ok(text) => procfs::Fields(text),
        Err(Error::Gone { .. }) => return Ok(Seized::Gone),
        Err(error) => return Err(error),
    };
    let dead = status
        .get("State")
        .is_some_and(|state| state.starts_with(['Z', 'X']));
    if dead && tid != process.pid {
        // Threads that have exited leave nothing.
        return Ok(Seized::Gone);
    }
    if dead {
        let threads = numbers(&process.proc, process.pid, "task")?;
        if threads.len() > 1 {
            return refuse(
                process.pid,
                "process",
                "its first thread has exited while others go on; such a process cannot be made again",
                "end the program's main thread last",
            );
        }
        let text = procfs::read_text(&process.proc, tid, "stat")?;
        let stat = procfs::Stat::parse(&text)
            .ok_or_else(|| Error::malformed(format!("/proc/{tid}/stat"), "cannot be parsed"))?;
        // Field 52 is the exit status as wait4 tells it.
        return Ok(Seized::Zombie(stat.field(52) as i32));
    }
    match status.number("TracerPid") {
        Some(tracer) if tracer != 0 => refuse(
            tid,
            format!("thread {tid}"),
            format!("process {tracer} traces it already, as a debugger does"),
            "end the debugger, or let it detach",
        ),
        _ => Err(Error::task(tid, "PTRACE_SEIZE", Errno::EPERM)),
    }
}

fn thread_pidfd(pid: i32, tid: i32) -> nix::Result<OwnedFd> {
    if tid == pid {
        pidfd::open(pid)
    } else {
        pidfd::open_thread(tid)
    }
}

/// Calls that end with `EINTR` if their thread is stopped, even if no handler is to run (signal(7)),
/// and have done nothing yet if they end so.
const ENDED_BY_STOPS: [i64; 6] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_semop,
    libc::SYS_semtimedop,
];

/// A thread whose call was ended by our stop, and by no signal, makes it again: it shall not see that
/// it was stopped.
fn make_call_again(process: &FrozenProcess, tid: i32, mut registers: UserRegs) -> Result<UserRegs> {
    let ended = registers.rax as i64 == -(Errno::EINTR as i64);
    if !ended || !ENDED_BY_STOPS.contains(&(registers.orig_rax as i64)) {
        return Ok(registers);
    }
    let text = procfs::read_text(&process.proc, tid, &format!("task/{tid}/status"))?;
    let status = procfs::Fields(text);
    let set = |field| status.hex(field).unwrap_or(0);
    if (set("SigPnd") | set("ShdPnd")) & !set("SigBlk") != 0 {
        return Ok(registers);
    }
    registers.rax = registers.orig_rax;
    registers.rip -= 2;
    registers.orig_rax = u64::MAX;
    ptrace::set_registers(tid, &registers)
        .map_err(|errno| Error::task(tid, "have its call made again", errno))?;
    Ok(registers)
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

/// The children of a process, of all its threads.
fn children(process: &FrozenProcess) -> Result<Vec<i32>> {
    let mut all = Vec::new();
    for thread in &process.threads {
        let name = format!("task/{}/children", thread.tid);
        let text = procfs::read_text(&process.proc, thread.tid, &name)?;
        all.extend(
            text.split_ascii_whitespace()
                .filter_map(|word| word.parse::<i32>().ok()),
        );
    }
    Ok(all)
}

/// The names of a directory below `/proc/PID` that are numbers.
fn numbers(proc: &OwnedFd, pid: i32, name: &str) -> Result<Vec<i32>> {
    let failed = |errno| Error::task(pid, format!("list /proc/{pid}/{name}"), errno);
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut directory = match nix::dir::Dir::openat(proc.as_fd(), name, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::ENOENT | Errno::ESRCH) => return Ok(Vec::new()),
        Err(errno) => return Err(failed(errno)),
    };
    let mut all = Vec::new();
    for entry in directory.iter() {
        let entry = entry.map_err(failed)?;
        if let Some(number) = entry
            .file_name()
            .to_str()
            .ok()
            .and_then(|name| name.parse().ok())
        {
            all.push(number);
        }
    }
    Ok(all)
}

/// A thread that was stopped within a restartable sequence: the kernel would send it to the abort
/// handler on its way back. With other registers in between, or in another process, it would only
/// forget the sequence, so it is sent there here.
fn leave_critical_section(tid: i32, mut registers: UserRegs) -> nix::Result<UserRegs> {
    if registers.orig_rax != u64::MAX {
        // A system call within a sequence is forbidden.
        return Ok(registers);
    }
    let rseq = ptrace::rseq(tid).unwrap_or_default();
    if rseq.address.0 == 0 {
        return Ok(registers);
    }
    // struct rseq: rseq_cs is the third field, after two 32-bit numbers.
    let field = rseq.address.offset(8);
    let mut pointer = [0; 8];
    memory::read(tid, field, &mut pointer)?;
    let pointer = u64::from_ne_bytes(pointer);
    if pointer == 0 {
        return Ok(registers);
    }
    // struct rseq_cs: version, flags; then start_ip, post_commit_offset, abort_ip.
    let mut section = [0; 32];
    memory::read(tid, RemoteAddr(pointer), &mut section)?;
    let word = |at: usize| u64::from_ne_bytes(section[at..at + 8].try_into().expect("8 bytes"));
    if registers.rip.wrapping_sub(word(8)) < word(16) {
        registers.rip = word(24);
        ptrace::set_registers(tid, &registers)?;
        memory::write(tid, field, &[0; 8])?;
    }
    Ok(registers)
}

/// Whether a process of this number is there, be it a zombie.
fn is_there(pid: i32) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// A `syscall` instruction in the vDSO, whose address the auxiliary vector tells.
fn syscall_instruction(process: &FrozenProcess) -> Result<Option<RemoteAddr>> {
    const AT_SYSINFO_EHDR: u64 = 33;
    let auxv = procfs::read(&process.proc, process.pid, "auxv")?;
    let vdso = auxv.chunks_exact(16).find_map(|pair| {
        let word = |at: usize| u64::from_ne_bytes(pair[at..at + 8].try_into().expect("8 bytes"));
        (word(0) == AT_SYSINFO_EHDR).then(|| RemoteAddr(word(8)))
    });
    Ok(vdso.and_then(|vdso| find_syscall(process.pid, vdso)))
}

/// The first `mov $number, %eax; syscall` of a vDSO at this address.
///
/// All 64-bit processes have the same one, so the place that was found once is only looked at again.
pub(crate) fn find_syscall(pid: i32, vdso: RemoteAddr) -> Option<RemoteAddr> {
    use std::sync::atomic::{AtomicU64, Ordering};
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    // The vDSO has at least this size: one page.
    const SIZE: usize = 4096;
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    let known = KNOWN.load(Ordering::Relaxed);
    if known != 0 {
        let place = vdso.offset(known);
        let mut there = [0; 2];
        if memory::read(pid, place, &mut there).is_ok() && there == SYSCALL {
            return Some(place);
        }
    }
    let mut code = vec![0; SIZE];
    memory::read(pid, vdso, &mut code).ok()?;
    // b8 nn nn 00 00 0f 05
    let at = code
        .windows(7)
        .position(|w| w[0] == 0xb8 && w[3..5] == [0, 0] && w[5..] == SYSCALL)?;
    let place = at as u64 + 5;
    KNOWN.store(place, Ordering::Relaxed);
    Some(vdso.offset(place))
}
