// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The interface of the module, `/dev/ckpt`: `linux/ckpt.h` in Rust.
//!
//! The header says what each field means. A test compares every structure and constant with it
//! (`tests/uapi.rs`), so that the two cannot drift apart.

use crate::word;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// The ioctl type (`_IOC_TYPE`) of all requests.
pub const CKPT_IOC_MAGIC: u32 = 0xC7;

/// The number of pid namespace levels that [`SetPid`] can name.
pub const CKPT_MAX_LEVEL: usize = 33;
/// The number of signals.
pub const CKPT_NSIG: usize = 64;

/// A structure that is the argument of a request. It begins with a descriptor.
pub trait Request: FromBytes + IntoBytes + Immutable {
    /// The name in C, without `CKPT_IOC_`.
    const NAME: &'static str;
    /// `_IOC_NR`.
    const NR: u32;
    /// Whether the kernel writes an answer to it (`_IOWR`, else `_IOW`).
    const ANSWERS: bool;

    /// Returns an argument with allowed values, as far as they do not depend on the descriptor, and
    /// with a last field that is not zero. It names no descriptor.
    fn probe() -> Self;
}

macro_rules! request {
    ($structure:ident, $name:ident, $nr:literal, $answers:literal, |$probe:ident| $fill:expr) => {
        impl Request for $structure {
            const NAME: &'static str = stringify!($name);
            const NR: u32 = $nr;
            const ANSWERS: bool = $answers;

            fn probe() -> Self {
                let mut $probe = Self::new_zeroed();
                $probe.as_mut_bytes()[..4].fill(0xff);
                $fill;
                $probe
            }
        }
    };
}

request!(SetPid, SET_PID, 0, false, |it| {
    it.count = word::to_uint(CKPT_MAX_LEVEL as u64);
    it.nr.fill(300);
});
request!(SetIds, SET_IDS, 1, false, |it| {
    it.pgid = 300;
    it.sid = 300;
});
request!(SetStart, SET_START, 2, false, |it| it.start_boottime = 1);
request!(Usage, ADD_USAGE, 3, false, |it| it.maxrss = 1);
request!(Sigactions, SIGACTIONS, 4, true, |it| it.action
    [CKPT_NSIG - 1]
    .mask = 1);
request!(Thread, THREAD, 5, true, |it| it.restart.val = 1);
request!(Process, PROCESS, 6, true, |it| it.membarrier = 1);
request!(Tcp, TCP, 7, true, |it| it.urg_seq = 1);
request!(Messages, MESSAGES, 8, true, |it| it.size = 1);

/// Gives an existing task other process ids.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetPid {
    pub pidfd: i32,
    pub flags: u32,
    /// The number of entries of `nr` that are used.
    pub count: u32,
    /// The new ids, innermost pid namespace first.
    pub nr: [i32; CKPT_MAX_LEVEL],
}

/// Puts a process into a process group and a session.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetIds {
    pub pidfd: i32,
    pub flags: u32,
    /// The process group; 0 leaves it unchanged.
    pub pgid: i32,
    /// The session; 0 leaves it unchanged.
    pub sid: i32,
}

/// Sets the start time of a task.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetStart {
    pub pidfd: i32,
    pub flags: u32,
    /// The start time on `CLOCK_BOOTTIME` of the caller, in nanoseconds.
    pub start_boottime: u64,
}

/// Adds to the resource usage of a process. Times are in nanoseconds.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Usage {
    pub pidfd: i32,
    pub flags: u32,
    pub runtime: u64,
    pub utime: u64,
    pub stime: u64,
    pub cutime: u64,
    pub cstime: u64,
    pub minflt: u64,
    pub majflt: u64,
    pub cminflt: u64,
    pub cmajflt: u64,
    /// In blocks of 512 bytes.
    pub inblock: u64,
    /// In blocks of 512 bytes.
    pub oublock: u64,
    pub nvcsw: u64,
    pub nivcsw: u64,
    /// In bytes.
    pub maxrss: u64,
}

/// A signal action as the kernel keeps it.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Sigaction {
    pub handler: u64,
    pub flags: u64,
    pub restorer: u64,
    pub mask: u64,
}

/// Reads the signal actions of a task.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Sigactions {
    pub pidfd: i32,
    pub flags: u32,
    /// The action of signal `n` is entry `n - 1`.
    pub action: [Sigaction; CKPT_NSIG],
}

/// Values of [`Restart::kind`].
pub mod restart {
    /// No call is to be continued.
    pub const NONE: u32 = 0;
    /// `nanosleep`, `clock_nanosleep`.
    pub const NANOSLEEP: u32 = 1;
    /// `poll`.
    pub const POLL: u32 = 2;
    /// `futex(FUTEX_WAIT, FUTEX_WAIT_BITSET)` with a timeout.
    pub const FUTEX: u32 = 3;
    /// An unknown call.
    pub const OTHER: u32 = 4;
}

/// The restart block of an interrupted system call. The other arguments are in the registers of the
/// task.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Restart {
    /// One of [`restart`].
    pub kind: u32,
    /// `NANOSLEEP`, `FUTEX`: the clock of the timeout.
    pub clock: i32,
    /// The time that is left now, in nanoseconds; `u64::MAX` if the call has no timeout.
    pub remaining: u64,
    /// `NANOSLEEP`: where the remaining time is written, or 0. `POLL`: the array of `struct
    /// pollfd`. `FUTEX`: the futex.
    pub addr: u64,
    /// `POLL`: the number of entries. `FUTEX`: the expected value.
    pub val: u32,
    pub pad: u32,
}

/// Reads the state of one thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Thread {
    /// A pidfd of the thread (`PIDFD_THREAD`) or of a thread group leader.
    pub pidfd: i32,
    pub flags: u32,
    pub clear_child_tid: u64,
    pub sas_sp: u64,
    pub sas_size: u64,
    pub sas_flags: u32,
    pub pdeath_signal: i32,
    pub timer_slack: u64,
    pub default_timer_slack: u64,
    pub securebits: u32,
    pub pad: u32,
    pub restart: Restart,
}

/// An interval timer, in nanoseconds.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Itimer {
    /// The time until the next expiry; 0 if it is not armed.
    pub value: u64,
    pub interval: u64,
}

/// Bits of [`Process::state`].
pub mod process_state {
    /// `PR_SET_CHILD_SUBREAPER`.
    pub const CHILD_SUBREAPER: u32 = 1 << 0;
    /// Created by `clone3(CLONE_AUTOREAP)`.
    pub const AUTOREAP: u32 = 1 << 1;
    /// `PR_SET_THP_DISABLE`.
    pub const THP_DISABLE: u32 = 1 << 2;
    /// `PR_SET_THP_DISABLE` with `PR_THP_DISABLE_EXCEPT_ADVISED`.
    pub const THP_DISABLE_EXCEPT_ADVISED: u32 = 1 << 3;
}

/// Reads the state of a process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Process {
    /// A pidfd of any thread.
    pub pidfd: i32,
    pub flags: u32,
    pub brk: u64,
    /// `ITIMER_REAL`, `ITIMER_VIRTUAL`, `ITIMER_PROF`.
    pub itimer: [Itimer; 3],
    /// Bits of [`process_state`].
    pub state: u32,
    /// The result of `MEMBARRIER_CMD_GET_REGISTRATIONS`.
    pub membarrier: u32,
}

/// Reads a TCP connection, without changing it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Tcp {
    pub fd: i32,
    pub flags: u32,
    /// For a listening socket, the number of a connection that has not been accepted, from 1 on;
    /// else 0.
    pub child: u32,
    pub state: u32,
    pub recv_buf: u64,
    pub recv_len: u64,
    pub send_buf: u64,
    pub send_len: u64,
    pub cookie: u64,
    /// The number of bytes that can be read.
    pub recv_bytes: u32,
    /// The number of bytes that have not been acknowledged.
    pub send_bytes: u32,
    pub write_seq: u32,
    pub snd_una: u32,
    pub snd_nxt: u32,
    pub rcv_nxt: u32,
    pub copied_seq: u32,
    pub rcv_wup: u32,
    pub snd_wl1: u32,
    pub snd_wnd: u32,
    pub max_window: u32,
    pub rcv_wnd: u32,
    pub timestamp: u32,
    pub ts_recent: u32,
    pub mss_clamp: u16,
    /// 1 if an urgent byte can be read.
    pub urgent: u16,
    pub urg_seq: u32,
}

/// The header of each message that [`Messages`] copies; zeros pad the message to a multiple of
/// eight bytes.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Message {
    pub len: u32,
    /// `AF_UNIX`: the number of descriptors in the message.
    pub fds: u32,
    pub scope_id: u32,
    /// UDP: the port in host byte order.
    pub peer_port: u16,
    pub pad: u16,
    /// UDP: the address; an IPv4 address is mapped into IPv6.
    pub peer: [u8; 16],
}

/// Copies the messages queued in a UDP or Unix socket, without removing them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Messages {
    pub fd: i32,
    pub flags: u32,
    /// As in [`Tcp`], for a listening `AF_UNIX` socket.
    pub child: u32,
    /// UDP: the number of bytes held back by the cork.
    pub corked: u32,
    pub buf: u64,
    pub len: u64,
    /// The number of bytes that the messages take.
    pub size: u64,
}
