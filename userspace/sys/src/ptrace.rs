// SPDX-License-Identifier: Apache-2.0 OR MIT

//! ptrace: all requests that crust uses, by thread id.
//!
//! Tracing belongs to the calling *thread*: only the thread that seized a task may make requests
//! for it (`ESRCH` otherwise, as for a task that is gone or not in a ptrace-stop).

use std::sync::atomic::{AtomicUsize, Ordering};

use linux_raw_sys::elf_uapi::{NT_386_IOPERM, NT_PRSTATUS, NT_X86_SHSTK, NT_X86_XSTATE};
use linux_raw_sys::prctl::PR_SYS_DISPATCH_INCLUSIVE_ON;
use linux_raw_sys::ptrace::{PTRACE_SECCOMP_GET_FILTER, PTRACE_SECCOMP_GET_METADATA};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::raw::syscall;
use crate::signal::SigInfo;
use crate::{RemoteAddr, Result, word};

/// The general registers of an x86-64 task (`struct user_regs_struct`).
pub type UserRegs = libc::user_regs_struct;

/// Options of [`seize`] and [`set_options`].
pub mod option {
    /// Sets bit 7 in the signal of syscall-stops.
    pub const SYSGOOD: i32 = libc::PTRACE_O_TRACESYSGOOD;
    /// Kills the task when the tracer exits.
    pub const EXITKILL: i32 = libc::PTRACE_O_EXITKILL;
    /// Suspends the task's seccomp filters. Needs `CAP_SYS_ADMIN`.
    pub const SUSPEND_SECCOMP: i32 = libc::PTRACE_O_SUSPEND_SECCOMP;
    /// Stops the task when it exits.
    pub const EXIT: i32 = libc::PTRACE_O_TRACEEXIT;
}

/// Events of ptrace-stops.
pub mod event {
    /// `PTRACE_EVENT_STOP`: a stop by [`interrupt`](super::interrupt), the initial stop of a new
    /// tracee, and group-stops.
    pub const STOP: i32 = libc::PTRACE_EVENT_STOP;
    /// `PTRACE_EVENT_EXIT`.
    pub const EXIT: i32 = libc::PTRACE_EVENT_EXIT;
}

// More than the largest XSAVE area of any processor so far (AMX tiles: 11 KiB).
const XSTATE_LIMIT: usize = 64 << 10;

/// Makes a request whose only further argument is a number.
fn plain(request: u32, tid: i32, data: i32) -> Result<()> {
    // SAFETY: callers only pass requests that take a number.
    unsafe { syscall!(libc::SYS_ptrace, request, tid, 0, data) }?;
    Ok(())
}

/// Makes a request that reads or writes the memory at `data`.
///
/// # Safety
///
/// `data` must point to what the request reads or writes.
unsafe fn with<T>(request: u32, tid: i32, addr: usize, data: *mut T) -> Result<u64> {
    // SAFETY: promised by the caller.
    unsafe { syscall!(libc::SYS_ptrace, request, tid, addr, data) }
}

/// Begins to trace a task, without stopping it.
pub fn seize(tid: i32, options: i32) -> Result<()> {
    plain(libc::PTRACE_SEIZE, tid, options)
}

/// Makes the task stop with [`event::STOP`].
pub fn interrupt(tid: i32) -> Result<()> {
    plain(libc::PTRACE_INTERRUPT, tid, 0)
}

/// Resumes a stopped task, with a signal or 0.
pub fn cont(tid: i32, signal: i32) -> Result<()> {
    plain(libc::PTRACE_CONT, tid, signal)
}

/// Resumes a task like [`cont`], up to the next entry to or exit from a system call.
pub fn syscall(tid: i32, signal: i32) -> Result<()> {
    plain(libc::PTRACE_SYSCALL, tid, signal)
}

/// Stops tracing a stopped task, which continues, with a signal or 0.
pub fn detach(tid: i32, signal: i32) -> Result<()> {
    plain(libc::PTRACE_DETACH, tid, signal)
}

/// Replaces the options.
pub fn set_options(tid: i32, options: i32) -> Result<()> {
    plain(libc::PTRACE_SETOPTIONS, tid, options)
}

/// Reads a register set (`NT_*` of `linux/elf.h`); returns its length in bytes.
fn register_set(tid: i32, set: u32, bytes: &mut [u8]) -> Result<usize> {
    let mut io = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: the kernel writes at most `iov_len` bytes to `bytes`.
    unsafe { with(libc::PTRACE_GETREGSET, tid, set as usize, &raw mut io) }?;
    Ok(io.iov_len)
}

/// Writes a register set.
fn set_register_set(tid: i32, set: u32, bytes: &[u8]) -> Result<()> {
    let mut io = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: the kernel reads `iov_len` bytes of `bytes`.
    unsafe { with(libc::PTRACE_SETREGSET, tid, set as usize, &raw mut io) }?;
    Ok(())
}

/// Returns the general registers.
pub fn registers(tid: i32) -> Result<UserRegs> {
    let mut bytes = [0; size_of::<UserRegs>()];
    let length = register_set(tid, NT_PRSTATUS, &mut bytes)?;
    // A 32-bit task fills only a part of it.
    registers_from_bytes(&bytes[..length]).ok_or(Errno::ENOEXEC)
}

/// Sets the general registers.
pub fn set_registers(tid: i32, registers: &UserRegs) -> Result<()> {
    set_register_set(tid, NT_PRSTATUS, register_bytes(registers))
}

/// Returns the bytes of general registers, in the layout of `NT_PRSTATUS`.
#[must_use]
pub fn register_bytes(registers: &UserRegs) -> &[u8] {
    // SAFETY: 27 integers of 64 bits without padding, borrowed as long as `registers` is.
    unsafe {
        std::slice::from_raw_parts(std::ptr::from_ref(registers).cast(), size_of::<UserRegs>())
    }
}

/// Returns general registers from their bytes; `None` if the length is wrong.
#[must_use]
pub fn registers_from_bytes(bytes: &[u8]) -> Option<UserRegs> {
    if bytes.len() != size_of::<UserRegs>() {
        return None;
    }
    // SAFETY: there are enough bytes, and any bits are valid integers.
    Some(unsafe { std::ptr::read_unaligned(bytes.as_ptr().cast()) })
}

/// Returns the XSAVE area, in the size that this task has.
pub fn xstate(tid: i32) -> Result<Vec<u8>> {
    /// The size of the last one; all have the same, except for tasks that may use more registers
    /// than others.
    static KNOWN: AtomicUsize = AtomicUsize::new(0);
    let room = KNOWN.load(Ordering::Relaxed) + 64;
    let mut bytes = xstate_of_at_most(tid, room)?;
    if bytes.len() == room {
        bytes = xstate_of_at_most(tid, XSTATE_LIMIT)?;
        bytes.shrink_to_fit();
    }
    KNOWN.store(bytes.len(), Ordering::Relaxed);
    Ok(bytes)
}

/// Returns the XSAVE area, truncated to `room` bytes.
fn xstate_of_at_most(tid: i32, room: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; room];
    let length = register_set(tid, NT_X86_XSTATE, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Sets the XSAVE area.
pub fn set_xstate(tid: i32, bytes: &[u8]) -> Result<()> {
    set_register_set(tid, NT_X86_XSTATE, bytes)
}

/// Returns the shadow stack pointer; `None` if the task has no shadow stack, or this machine does
/// not support them (Linux 6.6).
pub fn shadow_stack(tid: i32) -> Result<Option<u64>> {
    let mut bytes = [0; size_of::<u64>()];
    match register_set(tid, NT_X86_SHSTK, &mut bytes) {
        Ok(_) => Ok(Some(u64::from_ne_bytes(bytes))),
        Err(Errno::ENODEV | Errno::EINVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Sets the shadow stack pointer of a task that has a shadow stack.
pub fn set_shadow_stack(tid: i32, pointer: u64) -> Result<()> {
    set_register_set(tid, NT_X86_SHSTK, &pointer.to_ne_bytes())
}

/// A queue of pending signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// The queue of the thread.
    Private,
    /// The queue of the process.
    Shared,
}

#[repr(C)]
struct PeekArgs {
    off: u64,
    flags: u32,
    nr: i32,
}

/// Returns the signals pending in a queue, in order, without removing them. Signals without a
/// `siginfo` (those that the kernel had no memory for) are not included.
pub fn queued_signals(tid: i32, queue: Queue) -> Result<Vec<SigInfo>> {
    const CHUNK: u8 = 32;
    let mut all = Vec::new();
    loop {
        let mut args = PeekArgs {
            off: all.len() as u64,
            flags: u32::from(queue == Queue::Shared),
            nr: CHUNK.into(),
        };
        let mut bytes = vec![0_u8; usize::from(CHUNK) * SigInfo::SIZE];
        // SAFETY: the request reads `args` and writes at most `nr` siginfos to `bytes`.
        let got = unsafe {
            with(
                libc::PTRACE_PEEKSIGINFO,
                tid,
                (&raw mut args) as usize,
                bytes.as_mut_ptr(),
            )
        }?;
        let got = word::to_size(got);
        all.extend(
            bytes
                .chunks_exact(SigInfo::SIZE)
                .take(got)
                .map(|info| SigInfo {
                    bytes: info.to_vec(),
                }),
        );
        if got < usize::from(CHUNK) {
            return Ok(all);
        }
    }
}

/// Returns the signal mask; within `sigsuspend` and similar calls, the mask that was in force
/// before.
pub fn signal_mask(tid: i32) -> Result<u64> {
    let mut mask = 0_u64;
    // SAFETY: the request writes 8 bytes, as `addr` says.
    unsafe { with(libc::PTRACE_GETSIGMASK, tid, 8, &raw mut mask) }?;
    Ok(mask)
}

/// Sets the signal mask.
pub fn set_signal_mask(tid: i32, mut mask: u64) -> Result<()> {
    // SAFETY: the request reads 8 bytes, as `addr` says.
    unsafe { with(libc::PTRACE_SETSIGMASK, tid, 8, &raw mut mask) }?;
    Ok(())
}

/// A thread's registered area for restartable sequences.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rseq {
    /// The address of the area; 0 if none is registered.
    pub address: RemoteAddr,
    /// The length of the area.
    pub length: u32,
    /// The signature that must precede abort handlers.
    pub signature: u32,
}

/// Returns the registration for restartable sequences (Linux 5.13).
pub fn rseq(tid: i32) -> Result<Rseq> {
    #[repr(C)]
    #[derive(Default)]
    struct Configuration {
        address: u64,
        length: u32,
        signature: u32,
        flags: u32,
        pad: u32,
    }
    let mut answer = Configuration::default();
    // SAFETY: the request writes as many bytes as `addr` says.
    unsafe {
        with(
            libc::PTRACE_GET_RSEQ_CONFIGURATION,
            tid,
            size_of::<Configuration>(),
            &raw mut answer,
        )
    }?;
    Ok(Rseq {
        address: RemoteAddr(answer.address),
        length: answer.length,
        signature: answer.signature,
    })
}

/// A thread's syscall user dispatch (`struct ptrace_sud_config`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDispatch {
    /// 0: off.
    pub mode: u64,
    /// The address of the selector byte.
    pub selector: u64,
    /// The start of the range from which calls are not dispatched.
    pub offset: u64,
    /// The length of that range.
    pub len: u64,
}

/// Returns syscall user dispatch (Linux 6.4).
pub fn user_dispatch(tid: i32) -> Result<UserDispatch> {
    let mut answer = UserDispatch::default();
    // SAFETY: the request writes as many bytes as `addr` says.
    unsafe {
        with(
            libc::PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG,
            tid,
            size_of::<UserDispatch>(),
            &raw mut answer,
        )
    }?;
    Ok(answer)
}

/// Sets syscall user dispatch.
pub fn set_user_dispatch(tid: i32, config: &UserDispatch) -> Result<()> {
    let mut config = config.as_set();
    // SAFETY: the request reads as many bytes as `addr` says.
    unsafe {
        with(
            libc::PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG,
            tid,
            size_of::<UserDispatch>(),
            &raw mut config,
        )
    }?;
    Ok(())
}

impl UserDispatch {
    /// Returns the arguments with which the kernel accepts this configuration. It stores a range
    /// within which calls are dispatched (`PR_SYS_DISPATCH_INCLUSIVE_ON`) as the inverse range,
    /// from its end around the whole of memory to its start, reports mode 1 for both, and does not
    /// accept such a range with that mode.
    fn as_set(&self) -> Self {
        let end = self.offset.wrapping_add(self.len);
        if self.mode != 0 && self.offset != 0 && end <= self.offset {
            Self {
                mode: PR_SYS_DISPATCH_INCLUSIVE_ON.into(),
                offset: end,
                len: self.len.wrapping_neg(),
                ..*self
            }
        } else {
            *self
        }
    }
}

/// Returns a seccomp filter of a thread as its classic BPF program, by its number: 0 is the one
/// that was installed first.
///
/// # Errors
///
/// `ENOENT` after the last one; `EACCES` without `CAP_SYS_ADMIN` or under filters of our own;
/// `EMEDIUMTYPE` if it is not a classic BPF program.
pub fn seccomp_filter(tid: i32, number: usize) -> Result<Vec<u8>> {
    const INSTRUCTION: usize = 8;
    // SAFETY: without a buffer, the request only returns the length.
    let length = unsafe {
        with(
            PTRACE_SECCOMP_GET_FILTER,
            tid,
            number,
            std::ptr::null_mut::<u8>(),
        )
    }?;
    let mut program = vec![0_u8; word::to_size(length) * INSTRUCTION];
    // SAFETY: the request writes that many instructions; a filter never changes.
    unsafe { with(PTRACE_SECCOMP_GET_FILTER, tid, number, program.as_mut_ptr()) }?;
    Ok(program)
}

/// Returns the flags with which a seccomp filter was installed, as far as the kernel tells them:
/// `SECCOMP_FILTER_FLAG_LOG` (Linux 4.16).
pub fn seccomp_flags(tid: i32, number: usize) -> Result<u64> {
    let mut metadata = [number as u64, 0];
    // SAFETY: the request reads and writes as many bytes as `addr` says.
    unsafe {
        with(
            PTRACE_SECCOMP_GET_METADATA,
            tid,
            size_of_val(&metadata),
            metadata.as_mut_ptr(),
        )
    }?;
    Ok(metadata[1])
}

/// Returns the I/O port permissions of a thread (`ioperm(2)`): a bit that is 0 grants a port.
/// `None` if none are granted.
pub fn io_ports(tid: i32) -> Result<Option<Vec<u8>>> {
    const PORTS: usize = 65536;
    let mut bits = vec![0xff_u8; PORTS / 8];
    let mut io = libc::iovec {
        iov_base: bits.as_mut_ptr().cast(),
        iov_len: bits.len(),
    };
    // SAFETY: the kernel writes at most `iov_len` bytes to `bits`.
    let result = unsafe {
        with(
            libc::PTRACE_GETREGSET,
            tid,
            NT_386_IOPERM as usize,
            &raw mut io,
        )
    };
    match result {
        Ok(_) => Ok(Some(bits)),
        // The thread has no such table, or the kernel does not support it (CONFIG_X86_IOPL_IOPERM).
        Err(Errno::ENXIO | Errno::ENODEV | Errno::EINVAL | Errno::EIO) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A TLS segment of a thread in the global descriptor table (`struct user_desc`,
/// `set_thread_area(2)`).
pub type Segment = [u32; 4];

/// The entries of the table that belong to the thread (`GDT_ENTRY_TLS_MIN`,
/// arch/x86/include/asm/segment.h).
pub const SEGMENTS: std::ops::RangeInclusive<u32> = 12..=14;

const PTRACE_GET_THREAD_AREA: u32 = 25;
const PTRACE_SET_THREAD_AREA: u32 = 26;

/// Returns a segment of a thread, by one of [`SEGMENTS`]. `EIO` on a kernel without support for
/// 32-bit programs.
pub fn segment(tid: i32, number: u32) -> Result<Segment> {
    let mut segment = Segment::default();
    // SAFETY: the request writes a structure of 16 bytes.
    unsafe {
        with(
            PTRACE_GET_THREAD_AREA,
            tid,
            number as usize,
            segment.as_mut_ptr(),
        )
    }?;
    Ok(segment)
}

/// Sets a segment of a thread.
pub fn set_segment(tid: i32, mut segment: Segment) -> Result<()> {
    let number = segment[0] as usize;
    // SAFETY: the request reads a structure of 16 bytes.
    unsafe { with(PTRACE_SET_THREAD_AREA, tid, number, segment.as_mut_ptr()) }?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_in_which_calls_are_dispatched() {
        let config = |mode, offset: u64, len: u64| UserDispatch {
            mode,
            selector: 0x5000,
            offset,
            len,
        };
        // This is what the kernel stores for mode 2 from 0x1000 on, 0x200 bytes.
        let kept = config(1, 0x1200, 0x200_u64.wrapping_neg());
        assert_eq!(kept.as_set(), config(2, 0x1000, 0x200));
        for plain in [
            config(0, 0, 0),
            config(1, 0, 0),
            config(1, 0x1000, 0x200),
            config(1, 0, u64::MAX),
        ] {
            assert_eq!(plain.as_set(), plain);
        }
    }
}
