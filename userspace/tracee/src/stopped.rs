// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The registers of a thread that has just been stopped, as if it had not been.

use std::time::{Duration, Instant};

use crust_arch::SYS_IO_PGETEVENTS;
use crust_model::{Error, Result};
use crust_sys::ptrace::{self, UserRegs, event};
use crust_sys::wait::{self, Status};
use crust_sys::{RemoteAddr, memory};
use nix::errno::Errno;

use crate::deadline::SyscallTimeout;
use crate::frozen_process::{FrozenProcess, open_process, refuse};
use crate::instruction;
use crate::syscall_timeout::resume::{Waiting, milliseconds};
use crate::syscall_timeout::{Sleeps, TimeoutLocation};

/// The code segment of 64-bit user mode (`__USER_CS`, arch/x86/include/asm/segment.h).
const USER_CODE_64: u64 = 0x33;

/// The registers with which a stopped thread will go on, and the limit of the call that it will go on with.
/// The traces that the stop itself has left are undone.
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

/// Refuses a thread that the kernel made for itself in a process. It has never been in the program, so its registers
/// are zeros, and it would make no call for us.
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
        format!("thread {tid}"),
        format!(
            "a thread of the kernel ({name}), which works for an io_uring of the program, or for vhost"
        ),
        "run the program without io_uring (many have a switch for it; \
         kernel.io_uring_disabled=2 makes them fall back)",
    )
}

/// Whether a stopped thread executes code of the vDSO. It may be about to add up what belongs to two moments, or to
/// two time namespaces, if one of them is another after a restore; a moment later it is through.
pub fn in_vdso(process: &FrozenProcess, tid: i32) -> bool {
    let Ok(registers) = ptrace::registers(tid) else {
        return false;
    };
    // In a call of the vDSO the kernel has the word.
    registers.orig_rax == u64::MAX
        && crust_proc::read(&process.proc, process.pid, "auxv").is_ok_and(|auxv| {
            let vdso = instruction::vdso(&auxv);
            vdso.is_some_and(|vdso| (vdso.0..vdso.0 + VDSO_SIZE).contains(&registers.rip))
        })
}

/// What the vDSO takes.
const VDSO_SIZE: u64 = 8 << 10;
/// How often a thread is let go on that is stopped in the vDSO: one that does little else is mostly there.
pub const MOMENTS: u32 = 200;

/// Lets a stopped thread execute a little more.
pub fn a_moment_later(tid: i32) -> nix::Result<()> {
    const MOMENT: Duration = Duration::from_micros(50);
    ptrace::cont(tid, 0)?;
    std::thread::sleep(MOMENT);
    match ptrace::interrupt(tid) {
        // It is dying; the wait will tell.
        Err(Errno::ESRCH) => Ok(()),
        result => result,
    }
}

/// How long a thread that was asked to stop is waited for when it shall go on anyway.
const PATIENCE: Duration = Duration::from_millis(200);

/// A thread that was asked to stop, and shall go on before anybody has waited for that: what its stop does
/// to its call is undone all the same. Returns the limit with which it goes on.
pub fn given_up(tid: i32, sleeps: &mut Sleeps) -> Option<Waiting> {
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
    process.pid = crust_proc::Fields::new(status).number("Tgid")? as i32;
    let (_, limit) = registers(&process, tid, sleeps).ok()?;
    Waiting::new(process.pid, tid, limit?.now()?)
}

/// Calls that end with `EINTR` if their thread is stopped, even if no handler is to run (signal(7)),
/// and have done nothing yet if they end so. Those of sockets do with a limit only ([`limit`](crate::syscall_timeout)).
const ENDED_BY_STOPS: [i64; 10] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_io_getevents,
    SYS_IO_PGETEVENTS,
    // With a mask of its own, or where what is left could not be written.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
];

/// A thread whose call was ended by our stop makes it again: it shall not see that it was stopped. A
/// handler that runs before ends it, as it would have.
///
/// Not if the process was stopped by a signal before: then the kernel has ended the call for all to see.
fn make_call_again(
    process: &FrozenProcess,
    tid: i32,
    mut registers: UserRegs,
    limit: Option<&SyscallTimeout>,
) -> Result<UserRegs> {
    /// The kernel's `-ERESTARTNOHAND`.
    const UNLESS_HANDLED: i64 = -514;
    let ended = registers.rax as i64 == -(Errno::EINTR as i64) && process.stopped.is_none();
    let does = ENDED_BY_STOPS.contains(&(registers.orig_rax as i64));
    if !ended || (!does && limit.is_none()) {
        return Ok(registers);
    }
    registers.rax = UNLESS_HANDLED as u64;
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
