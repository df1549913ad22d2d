// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Names for the kernel's numbers, and addresses as people write them.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use crust_sys::uapi;

/// `AF_*`.
pub(super) fn family(number: u16) -> String {
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

/// `SOCK_*`.
pub(super) fn socket_type(number: u16) -> String {
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

/// `IPPROTO_*`, where the family has such.
pub(super) fn protocol(socket: &uapi::Socket) -> String {
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
pub(super) fn state(family: u16, protocol: u16, number: u32) -> String {
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

/// The own address and that of the other end, of a socket of these families that has them.
pub(super) fn ends(family: u16, inet: &uapi::Inet) -> (Option<String>, Option<String>) {
    let address = |bytes: [u8; 16], port| {
        if (bytes, port) == ([0; 16], 0) {
            return None;
        }
        match i32::from(family) {
            libc::AF_INET => {
                let ip = Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]);
                Some(SocketAddrV4::new(ip, port).to_string())
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(bytes);
                let scope = if ip.is_unicast_link_local() {
                    inet.ifindex
                } else {
                    0
                };
                Some(SocketAddrV6::new(ip, port, 0, scope).to_string())
            }
            _ => None,
        }
    };
    (
        address(inet.local, inet.local_port),
        address(inet.peer, inet.peer_port),
    )
}

/// A path, or an abstract name after an `@`, as `ss` and `/proc/net/unix` write it.
pub(super) fn unix_name(unix: &uapi::Unix) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        let ipv6 = libc::AF_INET6 as u16;
        let mut inet = uapi::Inet {
            local_port: 80,
            ifindex: 3,
            ..Default::default()
        };
        inet.local[15] = 1;
        assert_eq!(ends(ipv6, &inet), (Some("[::1]:80".into()), None));
        inet.local[..2].copy_from_slice(&[0xfe, 0x80]);
        assert_eq!(ends(ipv6, &inet), (Some("[fe80::1%3]:80".into()), None));
        let any = uapi::Inet {
            local_port: 53,
            ..Default::default()
        };
        assert_eq!(
            ends(libc::AF_INET as u16, &any),
            (Some("0.0.0.0:53".into()), None)
        );
    }
}
