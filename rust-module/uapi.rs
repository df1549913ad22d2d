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
//! * `mask` of an answer says which groups of fields the module filled in.
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
    /// value, `bitset` the bitset, `clock` the clock of the limit, `flags` what of
    /// `FUTEX_PRIVATE_FLAG` and `FUTEX_CLOCK_REALTIME` was given.
    pub const FUTEX: u32 = 3;
    /// A call that this kernel continues in a way the module does not know.
    pub const OTHER: u32 = u32::MAX;
}

/// How an interrupted system call is to go on (`struct restart_block`).
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
    pub flags: u32,
    pub bitset: u32,
    pub pad: u32,
}

/// Bits of [`Thread::mask`] and [`Process::mask`].
pub mod mask {
    /// All fields of this version hold, but those of `MM`.
    pub const ALL: u64 = 1 << 0;
    /// [`super::Process`]: the process has an address space; `brk`, `membarrier` and the bits
    /// `THP_*` hold.
    pub const MM: u64 = 1 << 1;
}

/// Bits of [`Thread::rseq_flags`].
pub mod rseq_flags {
    /// The time slice extension is on.
    pub const SLICE_EXT: u32 = 1 << 0;
}

/// Reads what belongs to one thread, a stopped tracee of the caller.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Thread {
    /// Of the thread (`PIDFD_THREAD`) or of a thread group leader.
    pub pidfd: i32,
    pub flags: u32,
    /// Answer, as all that follows: bits of [`mask`].
    pub mask: u64,
    pub clear_child_tid: u64,
    pub sas_sp: u64,
    pub sas_size: u64,
    pub sas_flags: u32,
    pub pdeath_signal: i32,
    pub timer_slack: u64,
    pub default_timer_slack: u64,
    /// Bits of [`rseq_flags`].
    pub rseq_flags: u32,
    pub securebits: u32,
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
    pub const SESSION_LEADER: u32 = 1 << 0;
    pub const CHILD_SUBREAPER: u32 = 1 << 1;
    /// Inherited by children (`PR_SET_CHILD_SUBREAPER` of an ancestor).
    pub const HAS_CHILD_SUBREAPER: u32 = 1 << 2;
    /// Made by `clone3(CLONE_AUTOREAP)`.
    pub const AUTOREAP: u32 = 1 << 3;
    /// `PR_SET_THP_DISABLE`.
    pub const THP_DISABLE: u32 = 1 << 4;
    /// `PR_SET_THP_DISABLE` with `PR_THP_DISABLE_EXCEPT_ADVISED`.
    pub const THP_DISABLE_EXCEPT_ADVISED: u32 = 1 << 5;
}

/// Reads what belongs to a process, of which the thread named is a stopped tracee of the caller.
///
/// Any thread will do: what is read is the same for all, also if the leader has exited.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Process {
    pub pidfd: i32,
    pub flags: u32,
    /// Answer, as all that follows: bits of [`mask`].
    pub mask: u64,
    /// On `CLOCK_MONOTONIC` of the initial time namespace.
    pub start_time: u64,
    /// On `CLOCK_BOOTTIME` of the initial time namespace.
    pub start_boottime: u64,
    /// The current program break.
    pub brk: u64,
    /// `ITIMER_REAL`, `ITIMER_VIRTUAL`, `ITIMER_PROF`.
    pub itimer: [Itimer; 3],
    /// Bits of [`process_state`].
    pub state: u32,
    /// The signal that the parent gets when the process ends; 0 for none.
    pub exit_signal: i32,
    /// `mm_struct::membarrier_state`.
    pub membarrier: u32,
    pub pad: u32,
}

/// Bits of [`Socket::mask`]: the groups of fields that hold.
pub mod socket_mask {
    /// Every socket.
    pub const COMMON: u64 = 1 << 0;
    /// `local` and `peer` of an `AF_INET` or `AF_INET6` socket.
    pub const INET: u64 = 1 << 1;
    /// `tcp`.
    pub const TCP: u64 = 1 << 2;
    /// `unix`.
    pub const UNIX: u64 = 1 << 3;
    /// The socket listens: `pending` and the array at `pending_buf` hold.
    pub const LISTEN: u64 = 1 << 4;
}

/// An Internet address. An IPv4 address is in the first four bytes of `addr`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct InetAddr {
    /// In network byte order.
    pub addr: [u8; 16],
    /// In host byte order.
    pub port: u16,
    pub pad: u16,
    /// Of a link-local IPv6 address.
    pub scope_id: u32,
}

/// Bits of [`TcpState::options`].
pub mod tcp_options {
    pub const TIMESTAMPS: u32 = 1 << 0;
    pub const SACK: u32 = 1 << 1;
    pub const WSCALE: u32 = 1 << 2;
    pub const ECN: u32 = 1 << 3;
    /// Timestamps are in microseconds.
    pub const USEC_TS: u32 = 1 << 4;
}

/// The state of a TCP connection that its peer relies on.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TcpState {
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
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    /// Not 0 if an urgent byte was announced and not read (`urg_data`).
    pub urgent: u16,
    /// The MSS that the peer announced (`rx_opt.mss_clamp`).
    pub mss_clamp: u32,
    pub mss_cache: u32,
    /// Bits of [`tcp_options`].
    pub options: u32,
    /// The timestamp that would be sent now (`tcp_time_stamp` + `tsoffset`).
    pub timestamp: u32,
    pub tsoffset: u32,
    /// The last timestamp of the peer, and how many seconds ago it came.
    pub ts_recent: u32,
    pub ts_recent_age: u32,
    /// Bytes in the receive queue that the application has not read. A SYN or a FIN, here and below,
    /// takes a sequence number but is no byte.
    pub recv_bytes: u32,
    /// Bytes in the send queue that the peer has not acknowledged.
    pub send_bytes: u32,
    /// Bytes of the send queue that were never sent.
    pub unsent_bytes: u32,
    /// Segments that came out of order.
    pub out_of_order: u32,
    /// The name of the congestion control, ended by a zero.
    pub congestion: [u8; 16],
}

/// What only an `AF_UNIX` socket has.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct UnixState {
    /// The inode number and the cookie of the socket at the other end, 0 if there is none.
    pub peer_ino: u64,
    pub peer_cookie: u64,
    /// `SO_PEERCRED`, in the namespaces of the caller; the pid is 0 if there is none.
    pub peer_pid: i32,
    pub peer_uid: u32,
    pub peer_gid: u32,
    /// Bytes and messages that wait to be received.
    pub recv_bytes: u32,
    pub recv_messages: u32,
    /// Messages of these that carry file descriptors.
    pub recv_with_fds: u32,
    /// Length of `name`.
    pub name_len: u32,
    /// Where in the stream an unread urgent byte (`MSG_OOB`) is, plus one; 0 if there is none.
    pub urgent: u32,
    /// `sun_path`; an abstract name begins with a zero.
    pub name: [u8; 108],
    pub pad2: u32,
}

/// A connection that a listening socket has not accepted yet.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Pending {
    /// Cookie of the socket that `accept` would return.
    pub cookie: u64,
    /// `AF_UNIX`: inode number and cookie of the socket that connected.
    pub peer_ino: u64,
    pub peer_cookie: u64,
    /// TCP: where it comes from and whom it asked for.
    pub peer: InetAddr,
    pub local: InetAddr,
    /// As [`Socket::state`].
    pub state: u32,
    /// Bytes that have come in already.
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
    pub pad: u32,
    /// Where to put an array of [`Pending`]; 0 if it is not wanted.
    pub pending_buf: u64,
    /// How many bytes there are for the array. Answer: how many were filled.
    pub pending_len: u64,
    /// Answer, as all that follows: bits of [`socket_mask`].
    pub mask: u64,
    /// How many connections wait to be accepted, also if the array had room for fewer.
    pub pending: u32,
    /// What `listen()` was told.
    pub backlog: u32,
    pub ino: u64,
    pub cookie: u64,
    /// Inode number of the network namespace.
    pub netns: u64,
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
    /// `SO_BUF_LOCK`: bit 0 the send buffer, bit 1 the receive buffer was set by the program.
    pub buf_lock: u32,
    /// `sk_rmem_alloc`, and `sk_wmem_queued` of TCP, else `sk_wmem_alloc`: memory that the queues
    /// take.
    pub rmem: u32,
    pub wmem: u32,
    /// Id of an attached eBPF socket filter, 0 if there is none.
    pub filter_id: u32,
    pub pad2: u32,
    pub local: InetAddr,
    pub peer: InetAddr,
    pub tcp: TcpState,
    pub unix: UnixState,
}

/// Values of [`SocketQueue::queue`].
pub mod socket_queue {
    /// What has come in and was not read.
    pub const RECV: u32 = 0;
    /// TCP: what was written and not acknowledged.
    pub const SEND: u32 = 1;
}

/// Copies bytes of a queue of a socket, without consuming them.
///
/// A TCP or Unix stream is one run of bytes. Of other sockets `offset` counts messages, and one
/// message is copied; `ENODATA` if there are not so many. The bytes are those of the sequence space:
/// an urgent byte is among them.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SocketQueue {
    pub pidfd: i32,
    pub fd: i32,
    pub flags: u32,
    /// One of [`socket_queue`].
    pub queue: u32,
    pub offset: u64,
    pub buf: u64,
    pub len: u64,
    /// Answer: the bytes copied; 0 at the end of a stream.
    pub got: u64,
    /// Answer: the bytes that there are from `offset` on, or the length of the message.
    pub size: u64,
    /// Answer: who sent the message. Of a datagram of `AF_INET` or `AF_INET6`, the address; of
    /// `AF_UNIX`, the cookie of the socket.
    pub from: InetAddr,
    pub from_cookie: u64,
    /// Answer: how many file descriptors the message carries.
    pub fds: u32,
    pub pad: u32,
}

const _: () = {
    assert!(size_of::<Version>() == 16);
    assert!(size_of::<SetPid>() == 144);
    assert!(size_of::<SetIds>() == 16);
    assert!(size_of::<SetStart>() == 24);
    assert!(size_of::<Sigactions>() == 2056);
    assert!(size_of::<Thread>() == 112);
    assert!(size_of::<Process>() == 104);
    assert!(size_of::<InetAddr>() == 24);
    assert!(size_of::<Pending>() == 80);
    assert!(size_of::<TcpState>() == 104);
    assert!(size_of::<UnixState>() == 160);
    assert!(size_of::<Socket>() == 432);
    assert!(size_of::<SocketQueue>() == 96);
};
