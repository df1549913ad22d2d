// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the module reads of a socket, in words: for `explain`, and for its JSON.
//!
//! The numbers are those of [`uapi::Socket`], whose documentation says what each means; here they
//! get names for families, states and options, and addresses are written as people write them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crust_sys::uapi::{self, socket_mask, tcp_options};
use serde::Serialize;

/// A socket of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SocketView {
    /// A process that has it open.
    pub pid: i32,
    /// Its descriptor there.
    pub fd: i32,
    /// Inode number, as in `socket:[123]`.
    pub inode: u64,
    /// `SO_COOKIE`.
    pub cookie: u64,
    /// Inode number of its network namespace.
    pub netns: u64,
    /// `inet`, `inet6`, `unix`, ..., or the number.
    pub family: String,
    /// `stream`, `dgram`, ..., or the number.
    pub socket_type: String,
    /// `tcp`, `udp`, ..., or the number.
    pub protocol: String,
    /// `established`, `listening`, ..., as the family calls it.
    pub state: String,
    /// Its own address, if it has one.
    pub local: Option<String>,
    /// The other end's.
    pub peer: Option<String>,
    /// Nothing more is received.
    pub shutdown_receive: bool,
    /// Nothing more is sent.
    pub shutdown_send: bool,
    /// `SO_ERROR`, which was not cleared; 0 is none.
    pub error: i32,
    /// An error that is reported only if a transmission times out.
    pub error_soft: i32,
    /// Messages in the error queue.
    pub error_queue: u32,
    /// Buffer sizes and the memory that is in use, in bytes.
    pub buffers: Buffers,
    /// Id of an attached eBPF filter; 0 is none.
    pub filter_id: u32,
    /// If it is a TCP connection.
    pub tcp: Option<TcpView>,
    /// If it is an `AF_UNIX` socket.
    pub unix: Option<UnixView>,
    /// If it listens.
    pub listen: Option<ListenView>,
}

/// Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Buffers {
    /// `SO_SNDBUF`.
    pub send: i32,
    /// `SO_RCVBUF`.
    pub receive: i32,
    /// The program set `SO_SNDBUF`.
    pub send_locked: bool,
    /// The program set `SO_RCVBUF`.
    pub receive_locked: bool,
    /// Memory that the send queue takes.
    pub send_memory: u32,
    /// Memory that the receive queue takes.
    pub receive_memory: u32,
}

/// The state of a TCP connection; names and meanings as in [`uapi::TcpState`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the documentation is that of the structure")]
pub struct TcpView {
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
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub urgent: u16,
    pub mss_clamp: u32,
    pub mss_cache: u32,
    pub timestamps: bool,
    pub sack: bool,
    pub window_scaling: bool,
    pub ecn: bool,
    pub timestamps_in_us: bool,
    pub timestamp: u32,
    pub tsoffset: u32,
    pub ts_recent: u32,
    pub ts_recent_age_s: u32,
    pub recv_bytes: u32,
    pub send_bytes: u32,
    pub unsent_bytes: u32,
    pub out_of_order: u32,
    pub congestion: String,
}

/// What only an `AF_UNIX` socket has; names and meanings as in [`uapi::UnixState`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the documentation is that of the structure")]
pub struct UnixView {
    pub peer_inode: u64,
    pub peer_cookie: u64,
    pub peer_pid: i32,
    pub peer_uid: u32,
    pub peer_gid: u32,
    pub recv_bytes: u32,
    pub recv_messages: u32,
    pub recv_with_fds: u32,
    pub urgent: u32,
}

/// The accept queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenView {
    /// What `listen()` was told.
    pub backlog: u32,
    /// How many connections wait.
    pub pending: u32,
    /// Those of them that were read.
    pub connections: Vec<PendingView>,
}

/// A connection that was not accepted yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingView {
    /// Cookie of the socket that `accept` would return.
    pub cookie: u64,
    /// Who connected: an address, or for `AF_UNIX` `inode N`.
    pub from: String,
    /// Its state.
    pub state: String,
    /// Bytes that have come in already.
    pub recv_bytes: u32,
}

impl SocketView {
    /// The words for what the module answered.
    #[must_use]
    pub fn new(pid: i32, fd: i32, socket: &uapi::Socket, pending: &[uapi::Pending]) -> Self {
        let has = |group| socket.mask & group != 0;
        let inet = has(socket_mask::INET);
        let unix = has(socket_mask::UNIX);
        Self {
            pid,
            fd,
            inode: socket.ino,
            cookie: socket.cookie,
            netns: socket.netns,
            family: family(socket.family),
            socket_type: socket_type(socket.socket_type),
            protocol: protocol(socket),
            state: state(socket.family, socket.protocol, u32::from(socket.state)),
            local: match (inet, unix) {
                (true, _) => address(socket.family, &socket.local),
                (_, true) => unix_name(&socket.unix),
                _ => None,
            },
            peer: match (inet, unix && socket.unix.peer_ino != 0) {
                (true, _) => address(socket.family, &socket.peer),
                (_, true) => Some(format!("inode {}", socket.unix.peer_ino)),
                _ => None,
            },
            shutdown_receive: socket.shutdown & 1 != 0,
            shutdown_send: socket.shutdown & 2 != 0,
            error: socket.error,
            error_soft: socket.error_soft,
            error_queue: socket.error_queue,
            buffers: Buffers {
                send: socket.sndbuf,
                receive: socket.rcvbuf,
                send_locked: socket.buf_lock & 1 != 0,
                receive_locked: socket.buf_lock & 2 != 0,
                send_memory: socket.wmem,
                receive_memory: socket.rmem,
            },
            filter_id: socket.filter_id,
            tcp: has(socket_mask::TCP).then(|| TcpView::new(&socket.tcp)),
            unix: unix.then(|| UnixView::new(&socket.unix)),
            listen: has(socket_mask::LISTEN).then(|| ListenView {
                backlog: socket.backlog,
                pending: socket.pending,
                connections: pending
                    .iter()
                    .map(|one| PendingView::new(socket, one))
                    .collect(),
            }),
        }
    }
}

impl TcpView {
    fn new(tcp: &uapi::TcpState) -> Self {
        let option = |bit| tcp.options & bit != 0;
        let name = tcp.congestion.split(|byte| *byte == 0).next();
        Self {
            write_seq: tcp.write_seq,
            snd_una: tcp.snd_una,
            snd_nxt: tcp.snd_nxt,
            rcv_nxt: tcp.rcv_nxt,
            copied_seq: tcp.copied_seq,
            rcv_wup: tcp.rcv_wup,
            snd_wl1: tcp.snd_wl1,
            snd_wnd: tcp.snd_wnd,
            max_window: tcp.max_window,
            rcv_wnd: tcp.rcv_wnd,
            snd_wscale: tcp.snd_wscale,
            rcv_wscale: tcp.rcv_wscale,
            urgent: tcp.urgent,
            mss_clamp: tcp.mss_clamp,
            mss_cache: tcp.mss_cache,
            timestamps: option(tcp_options::TIMESTAMPS),
            sack: option(tcp_options::SACK),
            window_scaling: option(tcp_options::WSCALE),
            ecn: option(tcp_options::ECN),
            timestamps_in_us: option(tcp_options::USEC_TS),
            timestamp: tcp.timestamp,
            tsoffset: tcp.tsoffset,
            ts_recent: tcp.ts_recent,
            ts_recent_age_s: tcp.ts_recent_age,
            recv_bytes: tcp.recv_bytes,
            send_bytes: tcp.send_bytes,
            unsent_bytes: tcp.unsent_bytes,
            out_of_order: tcp.out_of_order,
            congestion: String::from_utf8_lossy(name.unwrap_or_default()).into_owned(),
        }
    }
}

impl UnixView {
    fn new(unix: &uapi::UnixState) -> Self {
        Self {
            peer_inode: unix.peer_ino,
            peer_cookie: unix.peer_cookie,
            peer_pid: unix.peer_pid,
            peer_uid: unix.peer_uid,
            peer_gid: unix.peer_gid,
            recv_bytes: unix.recv_bytes,
            recv_messages: unix.recv_messages,
            recv_with_fds: unix.recv_with_fds,
            urgent: unix.urgent,
        }
    }
}

impl PendingView {
    fn new(listener: &uapi::Socket, pending: &uapi::Pending) -> Self {
        Self {
            cookie: pending.cookie,
            from: address(listener.family, &pending.peer)
                .unwrap_or_else(|| format!("inode {}", pending.peer_ino)),
            state: state(listener.family, listener.protocol, pending.state),
            recv_bytes: pending.recv_bytes,
        }
    }
}

fn family(number: u16) -> String {
    match i32::from(number) {
        libc::AF_UNIX => "unix".into(),
        libc::AF_INET => "inet".into(),
        libc::AF_INET6 => "inet6".into(),
        libc::AF_NETLINK => "netlink".into(),
        libc::AF_PACKET => "packet".into(),
        libc::AF_VSOCK => "vsock".into(),
        libc::AF_ALG => "alg".into(),
        number => format!("family {number}"),
    }
}

fn socket_type(number: u16) -> String {
    match i32::from(number) {
        libc::SOCK_STREAM => "stream".into(),
        libc::SOCK_DGRAM => "dgram".into(),
        libc::SOCK_RAW => "raw".into(),
        libc::SOCK_SEQPACKET => "seqpacket".into(),
        number => format!("type {number}"),
    }
}

fn is_inet(family: u16) -> bool {
    matches!(i32::from(family), libc::AF_INET | libc::AF_INET6)
}

fn protocol(socket: &uapi::Socket) -> String {
    match (is_inet(socket.family), i32::from(socket.protocol)) {
        (true, libc::IPPROTO_TCP) => "tcp".into(),
        (true, libc::IPPROTO_UDP) => "udp".into(),
        (true, libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6) => "icmp".into(),
        (true, libc::IPPROTO_SCTP) => "sctp".into(),
        (true, libc::IPPROTO_MPTCP) => "mptcp".into(),
        (_, number) => format!("{number}"),
    }
}

/// `sk_state`, of `include/net/tcp_states.h`; only TCP means all of it, the others borrow some.
fn state(family: u16, protocol: u16, number: u32) -> String {
    let tcp = is_inet(family) && i32::from(protocol) == libc::IPPROTO_TCP;
    let name = match number {
        1 if tcp => "established",
        1 => "connected",
        2 => "syn-sent",
        3 => "syn-received",
        4 => "fin-wait-1",
        5 => "fin-wait-2",
        6 => "time-wait",
        7 if tcp => "closed",
        7 => "unconnected",
        8 => "close-wait",
        9 => "last-ack",
        10 => "listening",
        11 => "closing",
        12 => "syn-received",
        _ => return format!("state {number}"),
    };
    name.into()
}

fn address(family: u16, address: &uapi::InetAddr) -> Option<String> {
    if *address == uapi::InetAddr::default() {
        return None;
    }
    let bytes = address.addr;
    match i32::from(family) {
        libc::AF_INET => {
            let ip = Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
            Some(SocketAddrV4::new(ip, address.port).to_string())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(bytes);
            Some(SocketAddrV6::new(ip, address.port, 0, address.scope_id).to_string())
        }
        _ => None,
    }
}

/// A path, or an abstract name after an `@`, as `ss` and `/proc/net/unix` write it.
fn unix_name(unix: &uapi::UnixState) -> Option<String> {
    let length = (unix.name_len as usize).min(unix.name.len());
    match &unix.name[..length] {
        [] => None,
        [0, name @ ..] => Some(format!("@{}", name.escape_ascii())),
        path => {
            let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
            Some(path.escape_ascii().to_string())
        }
    }
}

impl fmt::Display for SocketView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, text: String| {
            write!(f, "\n      {name:<10} {text}")
        };
        write!(
            f,
            "process {}, fd {}: {} {}",
            self.pid, self.fd, self.family, self.socket_type
        )?;
        if self.protocol != "0" {
            write!(f, " {}", self.protocol)?;
        }
        write!(f, ", {}", self.state)?;
        match (&self.local, &self.peer) {
            (Some(local), Some(peer)) => write!(f, ", {local} -> {peer}")?,
            (Some(local), None) => write!(f, ", {local}")?,
            (None, Some(peer)) => write!(f, ", -> {peer}")?,
            (None, None) => {}
        }
        let identity = format!(
            "inode {}, cookie {:#x}, network namespace {}",
            self.inode, self.cookie, self.netns
        );
        line(f, "identity", identity)?;
        let shutdown = match (self.shutdown_receive, self.shutdown_send) {
            (false, false) => "none",
            (true, false) => "receive",
            (false, true) => "send",
            (true, true) => "receive and send",
        };
        line(
            f,
            "errors",
            format!(
                "error {}, soft {}, in the error queue {}; shutdown {shutdown}",
                self.error, self.error_soft, self.error_queue
            ),
        )?;
        line(f, "buffers", self.buffers.to_string())?;
        if self.filter_id != 0 {
            line(f, "filter", format!("eBPF program {}", self.filter_id))?;
        }
        if let Some(tcp) = &self.tcp {
            tcp.lines()
                .try_for_each(|(name, text)| line(f, name, text))?;
        }
        if let Some(unix) = &self.unix {
            unix.lines()
                .try_for_each(|(name, text)| line(f, name, text))?;
        }
        if let Some(listen) = &self.listen {
            let text = format!("backlog {}, {} waiting", listen.backlog, listen.pending);
            line(f, "listen", text)?;
            for one in &listen.connections {
                let text = format!(
                    "from {}, {}, cookie {:#x}, {} bytes received",
                    one.from, one.state, one.cookie, one.recv_bytes
                );
                line(f, "waiting", text)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Buffers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = |locked| if locked { " (set)" } else { "" };
        write!(
            f,
            "send {}{}, {} in use; receive {}{}, {} in use",
            self.send,
            set(self.send_locked),
            self.send_memory,
            self.receive,
            set(self.receive_locked),
            self.receive_memory
        )
    }
}

impl TcpView {
    fn lines(&self) -> impl Iterator<Item = (&'static str, String)> {
        let yes = |flag, name| if flag { name } else { "" };
        let options: Vec<_> = [
            yes(self.sack, "SACK"),
            yes(self.window_scaling, "window scaling"),
            yes(self.timestamps, "timestamps"),
            yes(self.timestamps_in_us, "timestamps in us"),
            yes(self.ecn, "ECN"),
        ]
        .into_iter()
        .filter(|name| !name.is_empty())
        .collect();
        [
            (
                "sequence",
                format!(
                    "send: una {}, nxt {}, write {}; receive: nxt {}, copied {}, wup {}",
                    self.snd_una,
                    self.snd_nxt,
                    self.write_seq,
                    self.rcv_nxt,
                    self.copied_seq,
                    self.rcv_wup
                ),
            ),
            (
                "queues",
                format!(
                    "receive {} bytes unread, {} segments out of order; send {} bytes \
                     unacknowledged, {} of them never sent; urgent {:#x}",
                    self.recv_bytes,
                    self.out_of_order,
                    self.send_bytes,
                    self.unsent_bytes,
                    self.urgent
                ),
            ),
            (
                "windows",
                format!(
                    "send {} (largest {}, wl1 {}, scale {}); receive {} (scale {})",
                    self.snd_wnd,
                    self.max_window,
                    self.snd_wl1,
                    self.snd_wscale,
                    self.rcv_wnd,
                    self.rcv_wscale
                ),
            ),
            (
                "options",
                format!(
                    "MSS {} (now {}); {}",
                    self.mss_clamp,
                    self.mss_cache,
                    options.join(", ")
                ),
            ),
            (
                "timestamps",
                format!(
                    "now {} (offset {}); the peer's last {}, {} s ago",
                    self.timestamp, self.tsoffset, self.ts_recent, self.ts_recent_age_s
                ),
            ),
            ("congestion", self.congestion.clone()),
        ]
        .into_iter()
    }
}

impl UnixView {
    fn lines(&self) -> impl Iterator<Item = (&'static str, String)> {
        let peer = format!(
            "inode {}, cookie {:#x}; SO_PEERCRED pid {}, uid {}, gid {}",
            self.peer_inode, self.peer_cookie, self.peer_pid, self.peer_uid, self.peer_gid
        );
        let queue = format!(
            "receive {} bytes in {} messages, {} with descriptors; urgent {}",
            self.recv_bytes,
            self.recv_messages,
            self.recv_with_fds,
            match self.urgent {
                0 => "none".into(),
                place => format!("byte at {}", place - 1),
            }
        );
        [("peer", peer), ("queues", queue)].into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn inet(addr: &[u8], port: u16) -> uapi::InetAddr {
        let mut address = uapi::InetAddr {
            port,
            ..Default::default()
        };
        address.addr[..addr.len()].copy_from_slice(addr);
        address
    }

    #[test]
    fn a_tcp_connection() {
        let mut socket = uapi::Socket::new_zeroed();
        socket.mask = socket_mask::COMMON | socket_mask::INET | socket_mask::TCP;
        socket.family = libc::AF_INET as u16;
        socket.socket_type = libc::SOCK_STREAM as u16;
        socket.protocol = libc::IPPROTO_TCP as u16;
        socket.state = 1;
        socket.ino = 77;
        socket.cookie = 16;
        socket.netns = 4_026_531_840;
        socket.sndbuf = 87040;
        socket.rcvbuf = 131_072;
        socket.buf_lock = 2;
        socket.local = inet(&[10, 0, 0, 5], 6379);
        socket.peer = inet(&[10, 0, 0, 9], 51234);
        socket.tcp.snd_una = 1000;
        socket.tcp.snd_nxt = 1100;
        socket.tcp.write_seq = 1200;
        socket.tcp.send_bytes = 200;
        socket.tcp.unsent_bytes = 100;
        socket.tcp.options = tcp_options::SACK | tcp_options::TIMESTAMPS;
        socket.tcp.congestion[..5].copy_from_slice(b"cubic");
        insta::assert_snapshot!(SocketView::new(42, 7, &socket, &[]), @r"
        process 42, fd 7: inet stream tcp, established, 10.0.0.5:6379 -> 10.0.0.9:51234
              identity   inode 77, cookie 0x10, network namespace 4026531840
              errors     error 0, soft 0, in the error queue 0; shutdown none
              buffers    send 87040, 0 in use; receive 131072 (set), 0 in use
              sequence   send: una 1000, nxt 1100, write 1200; receive: nxt 0, copied 0, wup 0
              queues     receive 0 bytes unread, 0 segments out of order; send 200 bytes unacknowledged, 100 of them never sent; urgent 0x0
              windows    send 0 (largest 0, wl1 0, scale 0); receive 0 (scale 0)
              options    MSS 0 (now 0); SACK, timestamps
              timestamps now 0 (offset 0); the peer's last 0, 0 s ago
              congestion cubic
        ");
    }

    #[test]
    fn a_unix_listener_with_an_abstract_name() {
        let mut socket = uapi::Socket::new_zeroed();
        socket.mask = socket_mask::COMMON | socket_mask::UNIX | socket_mask::LISTEN;
        socket.family = libc::AF_UNIX as u16;
        socket.socket_type = libc::SOCK_SEQPACKET as u16;
        socket.state = 10;
        socket.shutdown = 3;
        socket.backlog = 5;
        socket.pending = 1;
        socket.unix.name_len = 4;
        socket.unix.name[..4].copy_from_slice(b"\0a\nb");
        let pending = uapi::Pending {
            peer_ino: 9,
            cookie: 17,
            state: 1,
            recv_bytes: 3,
            ..Default::default()
        };
        insta::assert_snapshot!(SocketView::new(42, 3, &socket, &[pending]), @r"
        process 42, fd 3: unix seqpacket, listening, @a\nb
              identity   inode 0, cookie 0x0, network namespace 0
              errors     error 0, soft 0, in the error queue 0; shutdown receive and send
              buffers    send 0, 0 in use; receive 0, 0 in use
              peer       inode 0, cookie 0x0; SO_PEERCRED pid 0, uid 0, gid 0
              queues     receive 0 bytes in 0 messages, 0 with descriptors; urgent none
              listen     backlog 5, 1 waiting
              waiting    from inode 9, connected, cookie 0x11, 3 bytes received
        ");
    }

    #[test]
    fn addresses_as_people_write_them() {
        let ipv6 = libc::AF_INET6 as u16;
        let mut loopback = inet(&[], 80);
        loopback.addr[15] = 1;
        assert_eq!(address(ipv6, &loopback).as_deref(), Some("[::1]:80"));
        assert_eq!(address(ipv6, &uapi::InetAddr::default()), None);
        let any = inet(&[], 53);
        assert_eq!(
            address(libc::AF_INET as u16, &any).as_deref(),
            Some("0.0.0.0:53")
        );
    }
}
