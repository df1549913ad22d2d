// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The options of a socket that differ from those of a new one.

use std::os::fd::{AsFd, OwnedFd};

use crust_model::plan::{Arg, Call, Data};
use crust_sys::{sockopt, word};
use libc::SOL_SOCKET;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use serde::{Deserialize, Serialize};

use crate::file::fd_plan::FdPlanner;

/// Options that are read and set as the same bytes.
const PLAIN: &[i32] = &[
    libc::SO_REUSEADDR,
    libc::SO_DONTROUTE,
    libc::SO_BROADCAST,
    libc::SO_KEEPALIVE,
    libc::SO_OOBINLINE,
    libc::SO_NO_CHECK,
    libc::SO_PRIORITY,
    libc::SO_LINGER,
    libc::SO_REUSEPORT,
    libc::SO_PASSCRED,
    libc::SO_RCVLOWAT,
    libc::SO_RCVTIMEO,
    libc::SO_SNDTIMEO,
    libc::SO_TIMESTAMP,
    libc::SO_TIMESTAMPNS,
    libc::SO_TIMESTAMPING,
    libc::SO_PASSSEC,
    libc::SO_MARK,
    libc::SO_RXQ_OVFL,
    libc::SO_PEEK_OFF,
    libc::SO_BUSY_POLL,
    libc::SO_PASSPIDFD,
    word::to_int(linux_raw_sys::net::SO_PASSRIGHTS as u64),
    word::to_int(linux_raw_sys::net::SO_INQ as u64),
];

/// The options of a socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// `SOL_SOCKET` options that differ from a new socket's, and their values.
    pub plain: Vec<(i32, Vec<u8>)>,
    /// The values of `SO_SNDBUF` and `SO_RCVBUF`, as the kernel counts them (twice what was asked
    /// for).
    pub buffers: [i32; 2],
    /// The value of `SO_BUF_LOCK`: the program has set the send buffer (bit 0) or the receive
    /// buffer (bit 1).
    pub buffer_lock: i32,
}

impl Options {
    /// Reads the options of a Unix socket.
    pub fn read(socket: &OwnedFd, socket_type: i32) -> nix::Result<Self> {
        let fresh = new_socket(socket_type)?;
        let mut plain = Vec::new();
        for &name in PLAIN {
            let ask = |socket: &OwnedFd| {
                let mut value = vec![0; 16];
                let length = sockopt::get(socket.as_fd(), SOL_SOCKET, name, &mut value)?;
                value.truncate(length);
                nix::Result::Ok(value)
            };
            // An option that this kernel does not know cannot have been set.
            if let (Ok(value), Ok(default)) = (ask(socket), ask(&fresh)) {
                if value != default {
                    plain.push((name, value));
                }
            }
        }
        let int = |name| sockopt::get_int(socket.as_fd(), SOL_SOCKET, name);
        Ok(Self {
            plain,
            buffers: [int(libc::SO_SNDBUF)?, int(libc::SO_RCVBUF)?],
            buffer_lock: int(libc::SO_BUF_LOCK).unwrap_or(0),
        })
    }

    /// Emits the calls that set the options.
    pub fn set(&self, number: i32, planner: &mut FdPlanner) {
        for (name, size) in [libc::SO_SNDBUFFORCE, libc::SO_RCVBUFFORCE]
            .into_iter()
            .zip(self.buffers)
        {
            // The kernel doubles the value it is given.
            set(number, name, (size / 2).to_ne_bytes().to_vec(), planner);
        }
        // Setting a size has locked it, so restore the lock bits too.
        set(
            number,
            libc::SO_BUF_LOCK,
            self.buffer_lock.to_ne_bytes().to_vec(),
            planner,
        );
        for (name, value) in &self.plain {
            set(number, *name, value.clone(), planner);
        }
    }
}

/// Gives a sender room for this many bytes at once.
pub(super) fn make_room(number: i32, bytes: usize, planner: &mut FdPlanner) {
    let size = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
    set(
        number,
        libc::SO_SNDBUFFORCE,
        size.to_ne_bytes().to_vec(),
        planner,
    );
}

fn new_socket(socket_type: i32) -> nix::Result<OwnedFd> {
    let socket_type = match socket_type {
        libc::SOCK_STREAM => SockType::Stream,
        libc::SOCK_DGRAM => SockType::Datagram,
        _ => SockType::SeqPacket,
    };
    socket(
        AddressFamily::Unix,
        socket_type,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
}

fn set(number: i32, name: i32, value: Vec<u8>, planner: &mut FdPlanner) {
    let length = value.len() as u64;
    planner.call(Call::new(
        format!("fd {number}: socket option {name}"),
        libc::SYS_setsockopt,
        [
            Arg::from(number),
            Arg::from(SOL_SOCKET),
            Arg::from(name),
            Arg::from(Data::new(value)),
            Arg::from(length),
        ],
    ));
}
