// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The registers of a thread that has just been stopped, with the effects of the stop undone.

use std::time::{Duration, Instant};

use crust_arch::SYS_IO_PGETEVENTS;
use crust_model::{Error, Result};
use crust_sys::errno::ERESTARTNOHAND;
use crust_sys::ptrace::{self, UserRegs, event};
use crust_sys::wait::{self, Status};
use crust_sys::{RemoteAddr, memory, word};
use nix::errno::Errno;

use crate::deadline::SyscallTimeout;
use crate::frozen_process::{FrozenProcess, open_process, refuse};
use crate::instruction;
use crate::syscall_timeout::resume::{Waiting, milliseconds};
use crate::syscall_timeout::{Sleeps, TimeoutLocation};

/// The code segment of 64-bit user mode (`__USER_CS`, arch/x86/include/asm/segment.h).
const USER_CODE_64: u64 = 0x33;

/// Returns the registers with which a stopped thread will continue, and the timeout of the call
/// that it will continue. The traces left by the stop itself are undone.
///
/// # Errors
///
/// [`Error::Refused`] if the thread runs 32-bit code.
pub fn registers(
    process: &FrozenProcess,
    tid: i32,
    sleeps: &mut Sleeps,
) -> Result<(UserRegs, Option<SyscallTimeout>)> {
    let failed = |errno| Error::task(tid, "read its registers", errno);
    let registers = match ptrace::registers(tid) {
        Ok(registers) if registers.cs == USER_CODE_64 => registers,
        Ok(_) | Err(Errno::ENOEXEC) => {
            return refuse(
                tid,
                "code-32-bit",
                format!("thread {tid}"),
                "it runs 32-bit code",
                "only 64-bit programs are supported yet",
            );
        }
        Err(errno) => return Err(failed(errno)),
    };
    if registers.rip == 0 {
        refuse_worker(process, tid)?;
    }
    let registers = leave_critical_section(tid, registers).map_err(failed)?;
    let limit = sleeps.limit(process, tid, &registers);
    let registers = make_call_again(process, tid, registers, limit.as_ref())?;
    Ok((registers, limit))
}

/// Refuses a thread that the kernel created for itself in a process. Such a thread never runs in
/// user mode, so its registers are zeros, and it cannot make calls for us.
fn refuse_worker(process: &FrozenProcess, tid: i32) -> Result<()> {
    /// `PF_IO_WORKER` and `PF_USER_WORKER`, in field 9.
    const WORKER: u64 = 0x10 | 0x4000;
    let stat = crust_proc::stat(&process.proc, tid, &format!("task/{tid}/stat"))?;
    if stat.field(9) & WORKER == 0 {
        return Ok(());
    }
    let name = String::from_utf8_lossy(&stat.comm);
    refuse(
        tid,
        "kernel-thread",
        format!("thread {tid}"),
        format!(
            "a thread of the kernel ({name}), which works for an io_uring of the program, or for vhost"
        ),
        "run the program without io_uring (many have a switch for it; \
         kernel.io_uring_disabled=2 makes them fall back)",
    )
}

/// Returns whether a stopped thread is executing vDSO code. It may be about to combine values read
/// at two moments, or in two time namespaces if it is restored into another one; a moment later it
/// has left that code.
pub(crate) fn in_vdso(process: &FrozenProcess, tid: i32) -> bool {
    let Ok(registers) = ptrace::registers(tid) else {
        return false;
    };
    // During a system call of the vDSO, the kernel is in control.
    registers.orig_rax == u64::MAX
        && crust_proc::read(&process.proc, process.pid, "auxv").is_ok_and(|auxv| {
            let vdso = instruction::vdso(&auxv);
            vdso.is_some_and(|vdso| (vdso.0..vdso.0 + VDSO_SIZE).contains(&registers.rip))
        })
}

/// The size of the vDSO.
const VDSO_SIZE: u64 = 8 << 10;
/// How often a thread stopped in the vDSO is resumed: a thread that does little else is there most
/// of the time.
pub(crate) const MOMENTS: u32 = 200;

/// Lets a stopped thread run for a moment.
pub(crate) fn a_moment_later(tid: i32) -> nix::Result<()> {
    const MOMENT: Duration = Duration::from_micros(50);
    ptrace::cont(tid, 0)?;
    std::thread::sleep(MOMENT);
    match ptrace::interrupt(tid) {
        // The thread is dying; the wait will report it.
        Err(Errno::ESRCH) => Ok(()),
        result => result,
    }
}

/// How long to wait for the stop of a thread that is going to be released anyway.
const PATIENCE: Duration = Duration::from_millis(200);

/// Handles a thread that was asked to stop but is to be released before anyone has waited for its
/// stop: the effect of the stop on its call is undone nevertheless. Returns the timeout with which
/// the thread continues.
pub(crate) fn given_up(tid: i32, sleeps: &mut Sleeps) -> Option<Waiting> {
    let deadline = Instant::now() + PATIENCE;
    let stopped = loop {
        match wait::poll(tid).ok()? {
            Some((_, Status::Stopped { signal, event })) if event == event::STOP => break signal,
            Some((_, Status::Stopped { signal, event })) => {
                ptrace::cont(tid, if event == 0 { signal } else { 0 }).ok()?;
            }
            Some((_, status)) if status.is_end() => return None,
            _ if Instant::now() >= deadline => return None,
            _ => std::thread::sleep(Duration::from_micros(50)),
        }
    };
    if stopped != libc::SIGTRAP {
        return None;
    }
    let mut process = open_process(tid, None).ok()??;
    let status = crust_proc::read_text(&process.proc, tid, "status").ok()?;
    let pid = crust_proc::Fields::new(status).number("Tgid")?;
    process.pid = i32::try_from(pid).ok()?;
    let (_, limit) = registers(&process, tid, sleeps).ok()?;
    Waiting::new(process.pid, tid, limit?.now()?)
}

/// Calls that fail with `EINTR` if their thread is stopped, even if no handler is to run
/// (signal(7)), and that have had no effect when they do. Calls on sockets behave so only with a
/// timeout ([`limit`](crate::syscall_timeout)).
const ENDED_BY_STOPS: [i64; 10] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_io_getevents,
    SYS_IO_PGETEVENTS,
    // With a mask of their own, or if the remaining time could not be written.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
];

/// Makes a thread whose call was ended by our stop repeat that call: the program must not notice
/// the stop. A handler that runs first ends the call, as it would have done without the stop.
///
/// Nothing is changed if a signal had stopped the process before: then the kernel itself ended the
/// call, visibly to the program.
fn make_call_again(
    process: &FrozenProcess,
    tid: i32,
    mut registers: UserRegs,
    limit: Option<&SyscallTimeout>,
) -> Result<UserRegs> {
    let ended = word::to_long(registers.rax) == -(Errno::EINTR as i64) && process.stopped.is_none();
    let does = ENDED_BY_STOPS.contains(&word::to_long(registers.orig_rax));
    if !ended || (!does && limit.is_none()) {
        return Ok(registers);
    }
    registers.rax = word::from_long(-ERESTARTNOHAND);
    if let Some(left) = limit
        .filter(|limit| limit.place == TimeoutLocation::Register)
        .and_then(SyscallTimeout::left)
    {
        registers.r10 = milliseconds(left);
    }
    ptrace::set_registers(tid, &registers)
        .map_err(|errno| Error::task(tid, "have its call made again", errno))?;
    Ok(registers)
}

/// Moves a thread that was stopped within a restartable sequence to its abort handler. The kernel
/// would do so on return to user mode; but with other registers in between, or in another process,
/// it would merely forget the sequence.
fn leave_critical_section(tid: i32, mut registers: UserRegs) -> nix::Result<UserRegs> {
    if registers.orig_rax != u64::MAX {
        // System calls within a sequence are forbidden.
        return Ok(registers);
    }
    let rseq = ptrace::rseq(tid).unwrap_or_default();
    if rseq.address.0 == 0 {
        return Ok(registers);
    }
    // struct rseq: rseq_cs is the third field, after two 32-bit integers.
    let field = rseq.address.offset(8);
    let mut pointer = [0; 8];
    memory::read(tid, field, &mut pointer)?;
    let pointer = u64::from_ne_bytes(pointer);
    if pointer == 0 {
        return Ok(registers);
    }
    // struct rseq_cs: version and flags, followed by start_ip, post_commit_offset and abort_ip.
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
