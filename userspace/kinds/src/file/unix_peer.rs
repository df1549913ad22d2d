// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finds out what is at the other end of a Unix socket, with `sock_diag(7)`.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// The other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherEnd {
    /// The socket is not connected.
    Unconnected,
    /// The socket was connected, and the other end is closed.
    Gone,
    /// The other end is the socket with this inode number.
    Socket(u64),
}

/// The state of a socket that the socket itself cannot be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The other end.
    pub other_end: OtherEnd,
    /// The directions that are shut down: bit 0 for receiving, bit 1 for sending.
    pub shutdown: u8,
}

// linux/netlink.h, linux/sock_diag.h, linux/unix_diag.h.
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const UDIAG_SHOW_PEER: u32 = 4;
/// The address family, which has only a byte in a request.
const FAMILY: u8 = libc::AF_UNIX.to_le_bytes()[0];
const UNIX_DIAG_PEER: u16 = 2;
const UNIX_DIAG_SHUTDOWN: u16 = 6;
/// The size of `struct nlmsghdr` and `struct unix_diag_msg`, in bytes.
const HEADERS: usize = 16 + 16;

/// A netlink socket that asks the kernel about Unix sockets in crust's network namespace.
pub struct Diag(OwnedFd);

impl Diag {
    /// Opens the netlink socket.
    pub fn open() -> nix::Result<Self> {
        socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )
        .map(Self)
    }

    /// Asks about the socket with an inode number. Returns `ENOENT` if there is none in this
    /// network namespace, or the kernel has no `CONFIG_UNIX_DIAG`.
    pub fn ask(&self, ino: u64) -> nix::Result<Connection> {
        // An inode number of a socket is an `unsigned int` (net/socket.c:sock_alloc, `get_next_ino`).
        let ino = u32::try_from(ino).map_err(|_| Errno::ENOENT)?;
        send(self.0.as_raw_fd(), &request(ino), MsgFlags::empty())?;
        let mut answer = [0; 4096];
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        parse(&answer[..length])
    }
}

/// Encodes a request: `struct nlmsghdr`, then `struct unix_diag_req`.
fn request(ino: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(40);
    bytes.extend(40_u32.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    // Family and protocol; any state; the inode number; what to show; any cookie.
    bytes.extend([FAMILY, 0, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(ino.to_ne_bytes());
    bytes.extend(UDIAG_SHOW_PEER.to_ne_bytes());
    bytes.extend([0xff; 8]);
    bytes
}

fn parse(answer: &[u8]) -> nix::Result<Connection> {
    let word = |at: usize| -> nix::Result<u32> {
        let bytes = answer
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or(Errno::EPROTO)
    };
    let half = |at: usize| -> nix::Result<u16> {
        let bytes = answer
            .get(at..at + 2)
            .and_then(|bytes| bytes.try_into().ok());
        bytes.map(u16::from_ne_bytes).ok_or(Errno::EPROTO)
    };
    if half(4)? == NLMSG_ERROR {
        let errno = i32::try_from(word(16)?.wrapping_neg()).map_err(|_| Errno::EPROTO)?;
        return Err(Errno::from_raw(errno));
    }
    let end = answer.len().min(word(0)? as usize);
    let mut connection = Connection {
        other_end: OtherEnd::Unconnected,
        shutdown: 0,
    };
    let mut at = HEADERS;
    while at + 4 <= end {
        let length = usize::from(half(at)?);
        match half(at + 2)? {
            UNIX_DIAG_PEER => {
                connection.other_end = match word(at + 4)? {
                    // A socket that is closed and only remembered has no inode any more.
                    0 => OtherEnd::Gone,
                    ino => OtherEnd::Socket(u64::from(ino)),
                }
            }
            UNIX_DIAG_SHUTDOWN => {
                connection.shutdown = *answer.get(at + 4).ok_or(Errno::EPROTO)?;
            }
            _ => {}
        }
        at += length.max(4).next_multiple_of(4);
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use nix::sys::stat::fstat;

    use super::*;

    #[test]
    fn the_kernel_knows_the_peer() {
        let Ok(diag) = Diag::open() else {
            return;
        };
        let (a, b) = UnixStream::pair().unwrap();
        let ino = |socket: &UnixStream| fstat(socket).unwrap().st_ino;
        // Without CONFIG_UNIX_DIAG there is nothing to test.
        if let Ok(connection) = diag.ask(ino(&a)) {
            assert_eq!(connection.other_end, OtherEnd::Socket(ino(&b)));
            b.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(diag.ask(ino(&a)).unwrap().shutdown, 1);
            drop(b);
            assert_eq!(diag.ask(ino(&a)).unwrap().other_end, OtherEnd::Gone);
        }
    }

    #[test]
    fn an_error_answer() {
        let mut answer = vec![0; 20];
        answer[4] = NLMSG_ERROR as u8;
        answer[16..20].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert_eq!(parse(&answer), Err(Errno::ENOENT));
        assert_eq!(parse(&[]), Err(Errno::EPROTO));
    }
}
