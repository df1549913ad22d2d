// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Which calls have a timeout, and where it is stored.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crust_arch::SYS_IO_PGETEVENTS;
use crust_model::plan::SECOND;
use crust_sys::errno::ERESTART_RESTARTBLOCK;
use crust_sys::ptrace::UserRegs;
use crust_sys::{RemoteAddr, memory, pidfd, sockopt, word};
use nix::errno::Errno;

use super::TimeoutLocation;
use super::blocked_since::Called;
use crate::frozen_process::FrozenProcess;
use crate::instruction;

/// The restart block says how the call continues.
const RESTART_BLOCK: i64 = -ERESTART_RESTARTBLOCK;
const ENDED: i64 = -(Errno::EINTR as i64);
/// `TIMER_ABSTIME`: a sleep until a point in time.
const ABSOLUTE: u64 = 1;

/// Sockets of processes: caches a pidfd of the last process that was asked about.
#[derive(Debug, Default)]
pub(super) struct Sockets(Option<(i32, OwnedFd)>);

impl Sockets {
    /// Returns whether a call may have a timeout whose end is lost if the call is interrupted.
    pub(crate) fn may_have_limit(&mut self, pid: i32, call: &Called) -> bool {
        let args = &call.args;
        match word::to_long(call.number) {
            libc::SYS_poll => word::to_int(args[2]) > 0,
            libc::SYS_epoll_wait | libc::SYS_epoll_pwait => word::to_int(args[3]) > 0,
            libc::SYS_rt_sigtimedwait | libc::SYS_ppoll => args[2] != 0,
            libc::SYS_epoll_pwait2 | libc::SYS_semtimedop => args[3] != 0,
            libc::SYS_futex => args[3] != 0 && is_relative(args[1]),
            libc::SYS_select | libc::SYS_pselect6 | libc::SYS_io_getevents | SYS_IO_PGETEVENTS => {
                args[4] != 0
            }
            // The kernel writes the remaining time.
            libc::SYS_nanosleep => args[1] == 0,
            libc::SYS_clock_nanosleep => args[3] == 0 && args[1] & ABSOLUTE == 0,
            // There may be a note.
            libc::SYS_restart_syscall => true,
            number => of_socket(number).is_some_and(|(_, option)| {
                let fd = word::to_int(args[0]);
                let process = match &self.0 {
                    Some((of, process)) if *of == pid => process,
                    _ => match pidfd::open(pid) {
                        Ok(process) => &self.0.insert((pid, process)).1,
                        Err(_) => return false,
                    },
                };
                socket_limit(process.as_fd(), fd, option).is_some()
            }),
        }
    }
}

/// Returns the six arguments of the call in which a thread is.
pub fn arguments(registers: &UserRegs) -> [u64; 6] {
    [
        registers.rdi,
        registers.rsi,
        registers.rdx,
        registers.r10,
        registers.r8,
        registers.r9,
    ]
}

/// Returns the number of the call before whose return a thread is stopped. A call that has been
/// interrupted and continued before is `restart_syscall` to the kernel; then the preceding
/// instruction may tell.
pub(super) fn number(tid: i32, registers: &UserRegs) -> Option<i64> {
    let nr = word::to_long(registers.orig_rax);
    let instruction = instruction::before(tid, registers)?;
    if instruction == instruction::INTERRUPT {
        return None;
    }
    if nr != libc::SYS_restart_syscall {
        return Some(nr);
    }
    (instruction == instruction::SYSCALL)
        .then(|| instruction::number_before(tid, registers))
        .flatten()
        .map(i64::from)
}

/// The whole duration of a timeout.
#[derive(Clone, Copy)]
pub(super) enum Whole {
    /// There is none, or it is a point in time.
    Endless,
    /// The duration in nanoseconds.
    Of(u64),
    /// The timeout is in terms of a clock that does not advance by itself.
    Unclear,
}

/// A wait that may have a timeout.
pub(super) struct Wait {
    pub place: TimeoutLocation,
    pub whole: Whole,
    /// The remaining time, if the kernel has written it.
    pub left: Option<u64>,
}

impl Wait {
    fn new(place: TimeoutLocation, limit: u64) -> Self {
        Self {
            place,
            whole: Whole::Of(limit),
            left: None,
        }
    }

    /// Returns the wait in which a thread was when it was stopped.
    pub fn of(
        process: &FrozenProcess,
        tid: i32,
        number: i64,
        registers: &UserRegs,
    ) -> Option<Self> {
        let args = arguments(registers);
        match word::to_long(registers.rax) {
            RESTART_BLOCK => Self::kept(tid, number, args),
            ENDED => Self::ended(process, tid, number, args),
            _ => None,
        }
    }

    /// Handles a call that the kernel continues from its restart block.
    fn kept(tid: i32, nr: i64, args: [u64; 6]) -> Option<Self> {
        let (whole, clock, told_at) = match nr {
            libc::SYS_nanosleep => (timespec(tid, args[0]), libc::CLOCK_MONOTONIC, args[1]),
            libc::SYS_clock_nanosleep => (timespec(tid, args[2]), word::to_int(args[0]), args[3]),
            libc::SYS_poll => (milliseconds(args[2]), libc::CLOCK_MONOTONIC, 0),
            libc::SYS_futex if is_relative(args[1]) => {
                (timespec(tid, args[3]), libc::CLOCK_MONOTONIC, 0)
            }
            libc::SYS_futex => (None, libc::CLOCK_MONOTONIC, 0),
            _ => return None,
        };
        // Each time a sleep ends early, the kernel writes the remaining time, if the program asked for
        // it (kernel/time/hrtimer.c:nanosleep_copyout).
        let left = if told_at == 0 {
            None
        } else {
            timespec(tid, told_at)
        };
        let runs = !is_of_processor(clock);
        Some(Self {
            place: TimeoutLocation::Kernel,
            whole: match whole {
                None => Whole::Endless,
                Some(limit) if runs => Whole::Of(limit),
                Some(_) => Whole::Unclear,
            },
            left,
        })
    }

    /// Handles a call that failed with `EINTR`.
    fn ended(process: &FrozenProcess, tid: i32, nr: i64, args: [u64; 6]) -> Option<Self> {
        let at = |address| {
            Some(Self::new(
                TimeoutLocation::Timespec(address),
                timespec(tid, address)?,
            ))
        };
        match nr {
            libc::SYS_epoll_wait | libc::SYS_epoll_pwait => {
                Some(Self::new(TimeoutLocation::Register, milliseconds(args[3])?))
            }
            libc::SYS_epoll_pwait2 | libc::SYS_semtimedop => at(args[3]),
            libc::SYS_rt_sigtimedwait => at(args[2]),
            libc::SYS_io_getevents | SYS_IO_PGETEVENTS => at(args[4]),
            // These fail with `EINTR` if the kernel could not, or would not, write the remaining time
            // (fs/select.c:poll_select_finish).
            libc::SYS_ppoll => at(args[2]),
            libc::SYS_pselect6 => at(args[4]),
            libc::SYS_select => Some(Self::new(
                TimeoutLocation::Timeval(args[4]),
                timeval(tid, args[4])?,
            )),
            _ => {
                let fd = word::to_int(args[0]);
                let (place, option) = of_socket(nr)?;
                let process = pidfd::open(process.pid).ok()?;
                let limit = socket_limit(process.as_fd(), fd, option)?;
                Some(Self::new(place(fd), nanoseconds(limit, 1000)))
            }
        }
    }
}

/// Returns whether a clock counts CPU time.
fn is_of_processor(clock: i32) -> bool {
    let of_processor = [
        libc::CLOCK_PROCESS_CPUTIME_ID,
        libc::CLOCK_THREAD_CPUTIME_ID,
    ];
    clock < 0 || of_processor.contains(&clock)
}

/// Returns whether a call sleeps until a CPU-time clock reaches a value.
pub fn is_until_used(nr: i64, registers: &UserRegs) -> bool {
    nr == libc::SYS_clock_nanosleep
        && registers.rsi & ABSOLUTE != 0
        && is_of_processor(word::to_int(registers.rdi))
}

/// Returns whether a futex call waits for a relative timeout, not until a point in time.
pub fn is_relative(operation: u64) -> bool {
    let flags = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;
    word::to_int(operation) & !flags == libc::FUTEX_WAIT
}

/// Converts a timeout in milliseconds; a negative one means none.
fn milliseconds(arg: u64) -> Option<u64> {
    u64::try_from(word::to_int(arg))
        .ok()
        .map(|ms| ms * 1_000_000)
}

/// Reads a pair of integers from the memory of a program: seconds, and fractions of a second.
fn pair(tid: i32, address: u64) -> Option<[u64; 2]> {
    let mut bytes = [0; 16];
    if address == 0 {
        return None;
    }
    memory::read(tid, RemoteAddr(address), &mut bytes).ok()?;
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    Some([word(0), word(8)])
}

fn nanoseconds([seconds, rest]: [u64; 2], unit: u64) -> u64 {
    let rest = rest.saturating_mul(unit);
    seconds.saturating_mul(SECOND).saturating_add(rest)
}

/// Reads a `struct timespec` of a program.
fn timespec(tid: i32, address: u64) -> Option<u64> {
    Some(nanoseconds(pair(tid, address)?, 1))
}

/// Reads a `struct timeval` of a program.
fn timeval(tid: i32, address: u64) -> Option<u64> {
    Some(nanoseconds(pair(tid, address)?, 1000))
}

/// Makes the location for a socket descriptor.
type OfSocket = fn(i32) -> TimeoutLocation;

/// Returns where a call on a socket has its timeout: the location, and the socket option.
fn of_socket(nr: i64) -> Option<(OfSocket, i32)> {
    match nr {
        libc::SYS_read
        | libc::SYS_readv
        | libc::SYS_recvfrom
        | libc::SYS_recvmsg
        | libc::SYS_recvmmsg
        | libc::SYS_accept
        | libc::SYS_accept4 => Some((TimeoutLocation::Receive, libc::SO_RCVTIMEO)),
        libc::SYS_write
        | libc::SYS_writev
        | libc::SYS_sendto
        | libc::SYS_sendmsg
        | libc::SYS_sendmmsg
        | libc::SYS_connect => Some((TimeoutLocation::Send, libc::SO_SNDTIMEO)),
        _ => None,
    }
}

/// Returns `SO_RCVTIMEO` or `SO_SNDTIMEO`, if it is set: seconds and microseconds.
fn socket_limit(process: BorrowedFd<'_>, fd: i32, option: i32) -> Option<[u64; 2]> {
    let socket = pidfd::get_fd(process, fd).ok()?;
    let mut bytes = [0; 16];
    // This fails for anything but a socket.
    sockopt::get(socket.as_fd(), libc::SOL_SOCKET, option, &mut bytes).ok()?;
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
    let limit = [word(0), word(8)];
    (limit != [0, 0]).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_in_all_units() {
        assert_eq!(milliseconds(7), Some(7_000_000));
        assert_eq!(milliseconds(u64::from(u32::MAX)), None);
        assert_eq!(nanoseconds([2, 5], 1), 2_000_000_005);
        assert_eq!(nanoseconds([2, 5], 1000), 2_000_005_000);
        assert_eq!(nanoseconds([u64::MAX, 0], 1), u64::MAX);
    }

    #[test]
    fn futexes_that_are_told_how_long() {
        let realtime = (libc::FUTEX_WAIT | libc::FUTEX_CLOCK_REALTIME) as u64;
        let private = (libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG) as u64;
        assert!(is_relative(realtime) && is_relative(private));
        assert!(!is_relative(libc::FUTEX_WAIT_BITSET as u64));
    }
}
