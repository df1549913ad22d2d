// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the module reads of a socket, in words: for `explain`, and for its JSON.
//!
//! The numbers are those of [`uapi::Socket`], whose documentation says what each means; here they
//! get names for families, states and options, and addresses are written as people write them.

mod names;
mod text;

use crust_sys::uapi::{self, socket_mask, tcp_options};
use serde::Serialize;

use self::names::{ends, family, protocol, socket_type, state, unix_name};

/// A socket of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SocketView {
    /// A process that has it open.
    pub pid: i32,
    /// Its descriptor there.
    pub fd: i32,
    /// Inode number, as in `socket:[123]`.
    pub inode: u64,
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
    /// Sizes of its buffers.
    pub buffers: Buffers,
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
}

/// The state of a TCP connection; names and meanings as in [`uapi::Tcp`].
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
    pub mss_clamp: u16,
    pub timestamps: bool,
    pub sack: bool,
    pub window_scaling: bool,
    pub timestamps_in_us: bool,
    pub timestamp: u32,
    pub ts_recent: u32,
    pub recv_bytes: u32,
    pub send_bytes: u32,
    pub congestion: String,
}

/// What only an `AF_UNIX` socket has; names and meanings as in [`uapi::Unix`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the documentation is that of the structure")]
pub struct UnixView {
    pub peer_inode: u64,
    pub peer_cookie: u64,
    pub recv_bytes: u32,
    pub recv_messages: u32,
    pub recv_fds: u32,
}

/// The accept queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListenView {
    /// What `listen()` was told.
    pub backlog: u32,
    /// The connections that wait, the oldest first.
    pub connections: Vec<PendingView>,
}

/// A connection that was not accepted yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PendingView {
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
    pub fn new(
        pid: i32,
        fd: i32,
        inode: u64,
        socket: &uapi::Socket,
        pending: &[uapi::Pending],
    ) -> Self {
        let has = |structure| socket.mask & structure != 0;
        let unix = has(socket_mask::UNIX);
        let tcp = has(socket_mask::TCP);
        let (local, peer) = ends(socket.family, &socket.inet);
        Self {
            pid,
            fd,
            inode,
            family: family(socket.family),
            socket_type: socket_type(socket.socket_type),
            protocol: protocol(socket),
            state: state(socket.family, socket.protocol, u32::from(socket.state)),
            local: local.or_else(|| unix_name(&socket.unix)),
            peer: peer.or_else(|| match socket.unix.peer_ino {
                0 => None,
                ino => Some(format!("inode {ino}")),
            }),
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
            },
            tcp: tcp.then(|| TcpView::new(&socket.tcp)),
            unix: unix.then(|| UnixView::new(&socket.unix)),
            listen: ((tcp || unix) && socket.state == LISTENING).then(|| ListenView {
                backlog: socket.backlog,
                connections: pending
                    .iter()
                    .map(|one| PendingView::new(socket, one))
                    .collect(),
            }),
        }
    }
}

impl TcpView {
    fn new(tcp: &uapi::Tcp) -> Self {
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
            mss_clamp: tcp.mss_clamp,
            timestamps: option(tcp_options::TIMESTAMPS),
            sack: option(tcp_options::SACK),
            window_scaling: option(tcp_options::WSCALE),
            timestamps_in_us: option(tcp_options::USEC_TS),
            timestamp: tcp.timestamp,
            ts_recent: tcp.ts_recent,
            recv_bytes: tcp.recv_bytes,
            send_bytes: tcp.send_bytes,
            congestion: String::from_utf8_lossy(name.unwrap_or_default()).into_owned(),
        }
    }
}

impl UnixView {
    fn new(unix: &uapi::Unix) -> Self {
        Self {
            peer_inode: unix.peer_ino,
            peer_cookie: unix.peer_cookie,
            recv_bytes: unix.recv_bytes,
            recv_messages: unix.recv_messages,
            recv_fds: unix.recv_fds,
        }
    }
}

impl PendingView {
    fn new(listener: &uapi::Socket, pending: &uapi::Pending) -> Self {
        Self {
            from: ends(listener.family, &pending.inet)
                .1
                .unwrap_or_else(|| format!("inode {}", pending.peer_ino)),
            state: state(listener.family, listener.protocol, pending.state),
            recv_bytes: pending.recv_bytes,
        }
    }
}

/// `TCP_LISTEN` of `include/net/tcp_states.h`.
const LISTENING: u8 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn a_tcp_connection() {
        let mut socket = uapi::Socket::new_zeroed();
        socket.mask = socket_mask::INET | socket_mask::TCP;
        socket.family = libc::AF_INET as u16;
        socket.socket_type = libc::SOCK_STREAM as u16;
        socket.protocol = libc::IPPROTO_TCP as u16;
        socket.state = 1;
        socket.sndbuf = 87040;
        socket.rcvbuf = 131_072;
        socket.buf_lock = 2;
        socket.inet.local[..4].copy_from_slice(&[10, 0, 0, 5]);
        socket.inet.local_port = 6379;
        socket.inet.peer[..4].copy_from_slice(&[10, 0, 0, 9]);
        socket.inet.peer_port = 51234;
        socket.tcp.snd_una = 1000;
        socket.tcp.snd_nxt = 1100;
        socket.tcp.write_seq = 1200;
        socket.tcp.send_bytes = 200;
        socket.tcp.options = tcp_options::SACK | tcp_options::TIMESTAMPS;
        socket.tcp.congestion[..5].copy_from_slice(b"cubic");
        insta::assert_snapshot!(SocketView::new(42, 7, 77, &socket, &[]), @r"
        process 42, fd 7: inet stream tcp, established, 10.0.0.5:6379 -> 10.0.0.9:51234
              identity   inode 77
              errors     error 0, soft 0, in the error queue 0; shutdown none
              buffers    send 87040, receive 131072 (set)
              sequence   send: una 1000, nxt 1100, write 1200; receive: nxt 0, copied 0, wup 0
              queues     receive 0 bytes unread; send 200 bytes unacknowledged
              windows    send 0 (largest 0, wl1 0, scale 0); receive 0 (scale 0)
              options    MSS 0; SACK, timestamps
              timestamps now 0; the peer's last 0
              congestion cubic
        ");
    }

    #[test]
    fn a_unix_listener_with_an_abstract_name() {
        let mut socket = uapi::Socket::new_zeroed();
        socket.mask = socket_mask::UNIX;
        socket.family = libc::AF_UNIX as u16;
        socket.socket_type = libc::SOCK_SEQPACKET as u16;
        socket.state = 10;
        socket.shutdown = 3;
        socket.backlog = 5;
        socket.unix.name_len = 4;
        socket.unix.name[..4].copy_from_slice(b"\0a\nb");
        let pending = uapi::Pending {
            peer_ino: 9,
            state: 1,
            recv_bytes: 3,
            ..Default::default()
        };
        insta::assert_snapshot!(SocketView::new(42, 3, 5, &socket, &[pending]), @r"
        process 42, fd 3: unix seqpacket, listening, @a\nb
              identity   inode 5
              errors     error 0, soft 0, in the error queue 0; shutdown receive and send
              buffers    send 0, receive 0
              peer       inode 0, cookie 0x0
              queues     receive 0 bytes in 0 messages, 0 descriptors
              listen     backlog 5, 1 waiting
              waiting    from inode 9, connected, 3 bytes received
        ");
    }
}
