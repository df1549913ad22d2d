// SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT

//! What user space and the module say to each other over `/dev/ckpt`.
//!
//! This file is compiled twice: into the module, and into the `crust-sys` crate. Its twin for C is
//! `include/uapi/linux/ckpt.h` of the patch series; a test holds the two against each other.
//!
//! Rules, the same for every structure:
//!
//! * Fixed-width integers, naturally aligned, no implicit padding, no pointers but as `u64`: the
//!   layout is that of 32-bit callers too.
//! * The size in the ioctl number is the version. A caller's structure that is larger than the
//!   module's is taken if all that the module does not know is zero (`E2BIG` otherwise), a smaller
//!   one reads as zero beyond its end and gets as many bytes back as it has.
//! * `flags` and `pad` must be zero (`EINVAL`) until a bit is defined.
//! * `mask` of an answer says which structures within it the module filled in.
//! * Times are in nanoseconds, sizes in bytes.

use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The ioctl type (`_IOC_TYPE`) of all requests.
pub const CKPT_IOC_MAGIC: u32 = 0xC7;

/// The ABI number that [`Version::abi`] answers. It changes only if old callers would break.
pub const CKPT_ABI: u32 = 1;

/// `_IOC_NR` of the requests. The structure that each takes is the one of the same name.
pub mod nr {
    /// [`super::Version`], `_IOWR`.
    pub const VERSION: u32 = 0;
    /// [`super::SetPid`], `_IOW`.
    pub const SET_PID: u32 = 1;
    /// [`super::SetIds`], `_IOW`.
    pub const SET_IDS: u32 = 2;
    /// [`super::SetStart`], `_IOW`.
    pub const SET_START: u32 = 3;
    /// [`super::Sigactions`], `_IOWR`.
    pub const SIGACTIONS: u32 = 4;
    /// [`super::Thread`], `_IOWR`.
    pub const THREAD: u32 = 5;
    /// [`super::Process`], `_IOWR`.
    pub const PROCESS: u32 = 6;
    /// [`super::Socket`], `_IOWR`.
    pub const SOCKET: u32 = 7;
    /// [`super::SocketQueue`], `_IOWR`.
    pub const SOCKET_QUEUE: u32 = 8;
    /// [`super::Usage`], `_IOWR`.
    pub const USAGE: u32 = 9;
    /// [`super::Usage`], `_IOW`.
    pub const ADD_USAGE: u32 = 10;
}

/// The number of pid namespace levels that [`SetPid`] can name (`MAX_PID_NS_LEVEL`).
pub const CKPT_MAX_LEVEL: usize = 32;
/// The number of signals (`_NSIG`).
pub const CKPT_NSIG: usize = 64;

/// Asks what the module can do. All fields are answers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Version {
    /// [`CKPT_ABI`].
    pub abi: u32,
    pub flags: u32,
    /// Bit `n` is set if the request with `_IOC_NR` `n` is known.
    pub features: u64,
}

/// Gives a stopped, single-threaded tracee of the caller other numbers; its `struct pid`, and so
/// every pidfd to it, stays.
///
/// A number that is that of a process group or of a session is taken (`EEXIST`), even if no
/// process has it: give all processes their numbers before the first [`SetIds`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetPid {
    pub pidfd: i32,
    pub flags: u32,
    /// How many entries of `nr` count, 1 up to the number of the task's pid namespaces.
    pub count: u32,
    pub pad: u32,
    /// The new numbers, innermost pid namespace first, as in `clone_args::set_tid`.
    pub nr: [i32; CKPT_MAX_LEVEL],
}

/// Puts a stopped tracee of the caller, the leader of its threads, into a process group and a
/// session, which are made if no process is in them; their numbers are taken from then on.
///
/// The controlling terminal becomes that of the session. Whose new session has its own number
/// becomes its leader, and must be put into the group of that number with the same request. A
/// leader stays in its session and a group lies in one session (`EPERM`). `EAGAIN`: the last
/// process of the group or session is just leaving it; ask again.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetIds {
    pub pidfd: i32,
    pub flags: u32,
    /// In the pid namespace of the tracee; 0 leaves it.
    pub pgid: i32,
    /// In the pid namespace of the tracee; 0 leaves it.
    pub sid: i32,
}

/// Sets when a stopped tracee of the caller was started.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetStart {
    pub pidfd: i32,
    pub flags: u32,
    /// On `CLOCK_MONOTONIC` of the initial time namespace.
    pub start_time: u64,
    /// On `CLOCK_BOOTTIME` of the initial time namespace.
    pub start_boottime: u64,
}

/// One signal's action, as the kernel keeps it.
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

/// Reads the signal actions of a stopped tracee of the caller.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Sigactions {
    pub pidfd: i32,
    pub flags: u32,
    /// Answer. Signal `n` is entry `n - 1`.
    pub action: [Sigaction; CKPT_NSIG],
}

/// Values of [`Restart::kind`].
pub mod restart {
    /// The thread has no interrupted call that waits for its continuation: the register for the
    /// result does not hold `-ERESTART_RESTARTBLOCK`.
    pub const NONE: u32 = 0;
    /// `nanosleep`, `clock_nanosleep`: `addr` is the address for the remaining time or 0, `clock`
    /// the clock.
    pub const NANOSLEEP: u32 = 1;
    /// `poll`: `addr` is the array of `struct pollfd`, `val` the number of entries.
    pub const POLL: u32 = 2;
    /// `futex(FUTEX_WAIT, FUTEX_WAIT_BITSET)` with a time limit: `addr` is the futex, `val` the
    /// value, `clock` the clock of the limit.
    pub const FUTEX: u32 = 3;
    /// A call that this kernel continues in a way the module does not know.
    pub const OTHER: u32 = u32::MAX;
}

/// How an interrupted system call is to go on (`struct restart_block`). The other arguments of the
/// call are in the registers of the thread.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Restart {
    /// One of [`restart`].
    pub kind: u32,
    pub clock: i32,
    /// The time that is left at the moment of the request; 0 if it has run out; `u64::MAX` if the
    /// call has no time limit.
    pub remaining: u64,
    pub addr: u64,
    pub val: u32,
    pub pad: u32,
}

/// Reads what belongs to one thread, a stopped tracee of the caller.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Thread {
    /// Of the thread (`PIDFD_THREAD`) or of a thread group leader.
    pub pidfd: i32,
    pub flags: u32,
    /// Answer, as all that follows.
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

/// An interval timer. Both are 0 if it is not armed.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Itimer {
    /// The time until it expires next.
    pub value: u64,
    pub interval: u64,
}

/// Bits of [`Process::state`].
pub mod process_state {
    pub const CHILD_SUBREAPER: u32 = 1 << 0;
    /// Made by `clone3(CLONE_AUTOREAP)`.
    pub const AUTOREAP: u32 = 1 << 1;
    /// `PR_SET_THP_DISABLE`.
    pub const THP_DISABLE: u32 = 1 << 2;
    /// `PR_SET_THP_DISABLE` with `PR_THP_DISABLE_EXCEPT_ADVISED`.
    pub const THP_DISABLE_EXCEPT_ADVISED: u32 = 1 << 3;
}

/// Reads what belongs to a process, of which the thread named is a stopped tracee of the caller.
///
/// Any thread will do: what is read is the same for all, also if the leader has exited.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Process {
    pub pidfd: i32,
    pub flags: u32,
    /// Answer, as all that follows. On `CLOCK_MONOTONIC` of the initial time namespace.
    pub start_time: u64,
    /// On `CLOCK_BOOTTIME` of the initial time namespace.
    pub start_boottime: u64,
    /// The current program break.
    pub brk: u64,
    /// `ITIMER_REAL`, `ITIMER_VIRTUAL`, `ITIMER_PROF`.
    pub itimer: [Itimer; 3],
    /// Bits of [`process_state`].
    pub state: u32,
    /// `mm_struct::membarrier_state`.
    pub membarrier: u32,
}

/// Resources that were used, as `getrusage(2)` counts them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Rusage {
    /// Time in user mode.
    pub utime: u64,
    /// Time in the kernel.
    pub stime: u64,
    /// Page faults without input.
    pub minflt: u64,
    /// Page faults with input.
    pub majflt: u64,
    /// Blocks read, of 512 bytes.
    pub inblock: u64,
    /// Blocks written, of 512 bytes.
    pub oublock: u64,
    /// Times that it waited for something.
    pub nvcsw: u64,
    /// Times that another task had its turn.
    pub nivcsw: u64,
    /// The most memory that was resident.
    pub maxrss: u64,
}

/// Reads the resources that a process has used ([`nr::USAGE`]), which may run or be a zombie; or adds
/// to what a stopped tracee of the caller has used ([`nr::ADD_USAGE`]), as if threads of it had exited,
/// and children been waited for, that used this much.
///
/// Of `maxrss` the larger value counts. The clocks of single threads are not changed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Usage {
    pub pidfd: i32,
    pub flags: u32,
    /// `CLOCK_PROCESS_CPUTIME_ID`.
    pub runtime: u64,
    /// All its threads, also those that have exited.
    pub own: Rusage,
    /// The children that it has waited for.
    pub children: Rusage,
}

/// Bits of [`Socket::mask`]: the structures that hold.
pub mod socket_mask {
    /// [`super::Socket::inet`].
    pub const INET: u32 = 1 << 0;
    /// [`super::Socket::tcp`].
    pub const TCP: u32 = 1 << 1;
    /// [`super::Socket::unix`].
    pub const UNIX: u32 = 1 << 2;
}

/// The ends of an `AF_INET` or `AF_INET6` socket. Addresses are in network byte order, an IPv4
/// address is in the first four bytes; ports are in host byte order.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Inet {
    pub local: [u8; 16],
    /// All zeros if there is no other end.
    pub peer: [u8; 16],
    pub local_port: u16,
    pub peer_port: u16,
    /// The interface that it is bound to; that of its link-local addresses.
    pub ifindex: u32,
}

/// Bits of [`Tcp::options`], `TCPI_OPT_*` of `linux/tcp.h`.
pub mod tcp_options {
    pub const TIMESTAMPS: u32 = 1;
    pub const SACK: u32 = 2;
    pub const WSCALE: u32 = 4;
    /// Timestamps are in microseconds.
    pub const USEC_TS: u32 = 64;
}

/// The state of a TCP connection that its peer relies on.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Tcp {
    /// The next sequence number that the application writes (`write_seq`).
    pub write_seq: u32,
    /// The first that the peer has not acknowledged (`snd_una`).
    pub snd_una: u32,
    /// The next that is sent (`snd_nxt`).
    pub snd_nxt: u32,
    /// The next that is expected of the peer (`rcv_nxt`).
    pub rcv_nxt: u32,
    /// The next that the application reads (`copied_seq`).
    pub copied_seq: u32,
    /// The first of the window last announced (`rcv_wup`).
    pub rcv_wup: u32,
    pub snd_wl1: u32,
    pub snd_wnd: u32,
    pub max_window: u32,
    pub rcv_wnd: u32,
    /// Bytes in the receive queue that the application has not read. A SYN or a FIN, here and below,
    /// takes a sequence number but is no byte.
    pub recv_bytes: u32,
    /// Bytes in the send queue that the peer has not acknowledged.
    pub send_bytes: u32,
    /// The MSS that the peer announced (`rx_opt.mss_clamp`).
    pub mss_clamp: u16,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    /// Bits of [`tcp_options`].
    pub options: u32,
    /// The timestamp that would be sent now.
    pub timestamp: u32,
    /// The last timestamp of the peer.
    pub ts_recent: u32,
    /// The name of the congestion control, ended by a zero.
    pub congestion: [u8; 16],
}

/// What only an `AF_UNIX` socket has.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Unix {
    /// The inode number of the socket at the other end; 0 if there is none or it was closed.
    pub peer_ino: u64,
    /// Its cookie; 0 if there is none.
    pub peer_cookie: u64,
    /// Bytes that wait to be received, as `SIOCINQ` counts them: of `SOCK_DGRAM`, in the first
    /// message.
    pub recv_bytes: u32,
    /// Messages that wait; of a stream, parts.
    pub recv_messages: u32,
    /// File descriptors that they carry.
    pub recv_fds: u32,
    /// Length of `name`.
    pub name_len: u32,
    /// `sun_path`; an abstract name begins with a zero.
    pub name: [u8; 108],
    pub pad: u32,
}

/// A connection that a listening socket has not accepted yet.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Pending {
    /// `AF_UNIX`: inode number of the socket that connected; 0 if it was closed.
    pub peer_ino: u64,
    /// TCP: where it comes from and whom it asked for.
    pub inet: Inet,
    /// As [`Socket::state`].
    pub state: u32,
    /// Bytes that have come in already, as `SIOCINQ` counts them.
    pub recv_bytes: u32,
}

/// Reads a socket of a process, under the lock of the socket and without changing it.
///
/// The caller must be allowed to ptrace the process (`EPERM`); it need not be stopped.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Socket {
    /// Of a process that has the socket open.
    pub pidfd: i32,
    /// The number of the socket's descriptor in that process.
    pub fd: i32,
    pub flags: u32,
    /// For how many [`Pending`] there is room at `pending_buf`.
    pub pending_room: u32,
    pub pending_buf: u64,
    /// Answer, as all that follows: bits of [`socket_mask`].
    pub mask: u32,
    /// How many connections wait to be accepted, also if there was room for fewer: then ask again
    /// with more. Of a TCP or `AF_UNIX` socket that listens.
    pub pending: u32,
    /// What `listen()` was told.
    pub backlog: u32,
    /// `SO_BUF_LOCK`: bit 0 the send buffer, bit 1 the receive buffer was set by the program.
    pub buf_lock: u32,
    pub family: u16,
    pub socket_type: u16,
    pub protocol: u16,
    /// Bit 0: no more is received, bit 1: no more is sent.
    pub shutdown: u8,
    /// `sk_state`: of TCP_ESTABLISHED = 1 and its kin in `include/net/tcp_states.h`.
    pub state: u8,
    /// `SO_ERROR`, not cleared; `sk_err_soft`.
    pub error: i32,
    pub error_soft: i32,
    /// Messages in the error queue.
    pub error_queue: u32,
    pub sndbuf: i32,
    pub rcvbuf: i32,
    pub pad: u32,
    pub inet: Inet,
    pub tcp: Tcp,
    pub unix: Unix,
}

/// Values of [`SocketQueue::queue`].
pub mod socket_queue {
    /// What has come in and was not read.
    pub const RECV: u32 = 0;
    /// TCP: what was written and not acknowledged.
    pub const SEND: u32 = 1;
}

/// Copies bytes of a queue of a TCP or `AF_UNIX` socket, without consuming them, an urgent byte
/// among them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketQueue {
    pub pidfd: i32,
    pub fd: i32,
    pub flags: u32,
    /// One of [`socket_queue`].
    pub queue: u32,
    /// `AF_UNIX`: the number of the message, or of the part of a stream, from 0 on. TCP: 0, all is
    /// one run of bytes. `ENODATA` if there is no such message.
    pub message: u32,
    pub pad: u32,
    pub buf: u64,
    pub len: u64,
    /// Answer: how many bytes there are. What there was room for was copied.
    pub size: u64,
}

const _: () = {
    assert!(size_of::<Version>() == 16);
    assert!(size_of::<SetPid>() == 144);
    assert!(size_of::<SetIds>() == 16);
    assert!(size_of::<SetStart>() == 24);
    assert!(size_of::<Sigactions>() == 2056);
    assert!(size_of::<Thread>() == 96);
    assert!(size_of::<Process>() == 88);
    assert!(size_of::<Rusage>() == 72);
    assert!(size_of::<Usage>() == 160);
    assert!(size_of::<Inet>() == 40);
    assert!(size_of::<Tcp>() == 80);
    assert!(size_of::<Unix>() == 144);
    assert!(size_of::<Pending>() == 56);
    assert!(size_of::<Socket>() == 336);
    assert!(size_of::<SocketQueue>() == 48);
};
