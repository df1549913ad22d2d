// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Messages that cannot be read without taking them: `MSG_PEEK` with an offset passes over an empty one that was
//! peeked before (net/core/datagram.c:__skb_try_recv_from_queue), be it by the program or by a dump. Its sender is
//! charged for it all the same (`SO_MEMINFO`), and so its presence can be told.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crust_sys::sockopt;
use libc::SOL_SOCKET;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, recv, send, setsockopt, socketpair, sockopt as opt,
};

use super::message::Message;

/// Returns whether a socket has sent more than the messages that were read at its other end. `socket_type` is
/// `SOCK_DGRAM` or `SOCK_SEQPACKET`.
///
/// # Errors
///
/// Fails if the sockets cannot be asked.
pub(super) fn are_there(
    sender: BorrowedFd<'_>,
    socket_type: i32,
    read: &[Message],
) -> nix::Result<bool> {
    let charged = charge(sender)?;
    if charged == 0 {
        return Ok(false);
    }
    let kind = match socket_type {
        libc::SOCK_DGRAM => SockType::Datagram,
        _ => SockType::SeqPacket,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let (from, to) = socketpair(AddressFamily::Unix, kind, None, flags)?;
    let longest = read.iter().map(|message| message.data.len()).max();
    let longest = longest.unwrap_or(0);
    // Without CAP_NET_ADMIN it stays as it is, and long messages cannot be measured.
    let _ = setsockopt(&from, opt::SndBufForce, &(2 * longest + 65536));
    let zeros = vec![0; longest];
    // What a message costs depends on the kernel, so it is measured.
    let cost = |length: usize| -> nix::Result<u64> {
        send(from.as_raw_fd(), &zeros[..length], MsgFlags::empty())?;
        let cost = charge(from.as_fd())?;
        recv(to.as_raw_fd(), &mut [], MsgFlags::MSG_TRUNC)?;
        Ok(cost)
    };
    let empty = cost(0)?;
    let mut of_length: BTreeMap<usize, u64> = BTreeMap::new();
    for message in read {
        *of_length.entry(message.data.len()).or_default() += 1;
    }
    let known = of_length.into_iter();
    let known = known.map(|(length, messages)| Ok(messages * cost(length)?));
    match known.sum::<nix::Result<u64>>() {
        Err(Errno::EMSGSIZE | Errno::EAGAIN) => Ok(false),
        known => Ok(charged >= known? + empty),
    }
}

/// Returns how many bytes a socket is charged for what it has sent and nobody has received
/// (net/core/sock.c:sk_get_meminfo).
fn charge(socket: BorrowedFd<'_>) -> nix::Result<u64> {
    const SO_MEMINFO: i32 = 55;
    const WMEM_ALLOC: usize = 2;
    let mut counters = [0; 4 * 9];
    let length = sockopt::get(socket, SOL_SOCKET, SO_MEMINFO, &mut counters)?;
    let counter = counters[..length].chunks_exact(4).nth(WMEM_ALLOC);
    let counter = counter.and_then(|bytes| bytes.try_into().ok());
    Ok(counter.map_or(0, |bytes| u32::from_ne_bytes(bytes).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: usize) -> Message {
        Message {
            data: vec![7; length],
            descriptors: Vec::new(),
            credentials: None,
        }
    }

    #[test]
    fn an_empty_message_is_missed() {
        for (kind, number) in [
            (SockType::Datagram, libc::SOCK_DGRAM),
            (SockType::SeqPacket, libc::SOCK_SEQPACKET),
        ] {
            let flags = SockFlag::SOCK_CLOEXEC;
            let (from, to) = socketpair(AddressFamily::Unix, kind, None, flags).unwrap();
            let there = |read: &[Message]| are_there(from.as_fd(), number, read).unwrap();
            assert!(!there(&[]));
            for length in [3, 0, 50_000] {
                send(from.as_raw_fd(), &vec![1; length], MsgFlags::empty()).unwrap();
            }
            assert!(!there(&[3, 0, 50_000].map(message)));
            assert!(there(&[3, 50_000].map(message)));
            drop(to);
        }
    }
}
