// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A Unix socket without a name: one end of a `socketpair`, or an unconnected socket.
//!
//! Messages that wait to be received are kept with the *receiver*, and sent again by the other end.
//! They are read with `MSG_PEEK` at growing offsets (`SO_PEEK_OFF`), which consumes nothing and
//! preserves message boundaries. Descriptors in flight come along as duplicates, which is how
//! descriptions that exist nowhere else are found.
//!
//! On a stream one `recvmsg` returns everything up to and including the bytes that carry descriptors. Those descriptors
//! must arrive neither earlier nor later than they would have: [`crust_sys::peek`] finds where these bytes begin.
//!
//! `SO_PEERCRED` names the process that made the pair, so that process makes the pair again, under the user and group
//! ids it had then.

mod hidden;
pub mod message;
pub mod options;
pub mod sockets;

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Arg, Call, Data};
use crust_model::words::count;
pub use message::Message;
pub use options::Options;
use serde::{Deserialize, Serialize};
pub use sockets::Sockets;

use super::fd_plan::FdPlanner;
use super::{DescriptionId, File, Open};

/// The other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// The socket was never connected.
    None,
    /// The other end is closed.
    Gone,
    /// The other end is this socket.
    Socket(DescriptionId),
}

/// The process that made a pair, as `SO_PEERCRED` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maker {
    /// Process id.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// A Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnixSocket {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The type: `SOCK_STREAM`, `SOCK_DGRAM`, `SOCK_SEQPACKET`.
    pub socket_type: i32,
    /// The other end.
    pub peer: Peer,
    /// The process that made the pair.
    pub maker: Option<Maker>,
    /// The directions that are shut down: bit 0 for receiving, bit 1 for sending.
    pub shutdown: u8,
    /// The options set with `setsockopt`.
    pub options: Options,
    /// The messages that wait to be received, in order.
    pub queue: Vec<Message>,
}

impl State for UnixSocket {
    const TAG: u16 = 0x031a;
    const NAME: &'static str = "Unix socket pair";
    const SUPPORT: &'static str = "Stream, datagram and seqpacket pairs with both ends in the \
        tree, or one closed; messages, descriptors and credentials in flight, options, shutdown, \
        SO_PEERCRED. Sockets with a name are refused.";

    fn describe(&self) -> String {
        let kind = type_name(self.socket_type);
        let peer = match self.peer {
            Peer::None => "not connected".into(),
            Peer::Gone => "other end closed".into(),
            Peer::Socket(id) => format!("to {id}"),
        };
        let bytes: usize = self.queue.iter().map(|message| message.data.len()).sum();
        let messages = count(self.queue.len() as u64, "message", "messages");
        format!("{kind}, {peer}, {bytes} bytes in {messages} not received yet")
    }
}

fn type_name(socket_type: i32) -> &'static str {
    match socket_type {
        libc::SOCK_STREAM => "stream",
        libc::SOCK_DGRAM => "datagram",
        _ => "seqpacket",
    }
}

impl File for UnixSocket {
    fn open(&self) -> &Open {
        &self.open
    }

    fn needs(&self) -> Vec<DescriptionId> {
        let in_flight = self.queue.iter().flat_map(|message| &message.descriptors);
        in_flight.copied().collect()
    }

    fn companions(&self) -> Vec<DescriptionId> {
        match self.peer {
            Peer::Socket(id) => vec![id],
            Peer::None | Peer::Gone => Vec::new(),
        }
    }

    fn maker(&self) -> Option<i32> {
        self.maker.map(|maker| maker.pid)
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let arguments = |numbers: Option<Data>| {
            let mut args = vec![
                Arg::from(libc::AF_UNIX),
                Arg::from(self.socket_type),
                Arg::from(0),
            ];
            args.extend(numbers.map(Arg::from));
            args
        };
        let other = match self.peer {
            Peer::None => {
                return planner.make(id, |cloexec| {
                    let mut args = arguments(None);
                    if cloexec {
                        args[1] = Arg::from(self.socket_type | libc::SOCK_CLOEXEC);
                    }
                    Call::new("make a Unix socket", libc::SYS_socket, args)
                });
            }
            Peer::Gone => None,
            Peer::Socket(peer) => Some(peer),
        };
        let maker = self.maker.unwrap_or(Maker {
            pid: 0,
            uid: 0,
            gid: 0,
        });
        let is_root = (maker.uid, maker.gid) == (0, 0);
        if !is_root {
            set_ids(planner, libc::SYS_setresgid, "group", maker.gid);
            set_ids(planner, libc::SYS_setresuid, "user", maker.uid);
        }
        let [own, others] = planner.make_pair([Some(id), other], |numbers| {
            let args = arguments(Some(numbers));
            Call::new("make a Unix socket pair", libc::SYS_socketpair, args)
        })?;
        if !is_root {
            set_ids(planner, libc::SYS_setresuid, "user", 0);
            set_ids(planner, libc::SYS_setresgid, "group", 0);
        }
        planner.set_other_end(id, others);
        if let Some(other) = other {
            planner.set_other_end(other, own);
        }
        Ok(())
    }

    fn connect(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        if !self.queue.is_empty() {
            let sender = planner.other_end(id)?;
            let room = self.queue.iter().map(Message::room).sum();
            options::make_room(sender, room, planner);
            for message in &self.queue {
                message.send(sender, planner)?;
            }
        }
        planner.set_flags(number, self.open.flags);
        Ok(())
    }

    fn finish(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        self.options.set(number, planner);
        for (bit, how) in [(1, libc::SHUT_RD), (2, libc::SHUT_WR)] {
            // A closed peer has shut down both directions by itself.
            if self.shutdown & bit != 0 && self.peer != Peer::Gone {
                planner.call(Call::new(
                    format!("fd {number}: shut down"),
                    libc::SYS_shutdown,
                    [Arg::from(number), Arg::from(how)],
                ));
            }
        }
        Ok(())
    }
}

/// Sets only the effective user or group id, so that the saved one can bring it back.
fn set_ids(planner: &mut FdPlanner, nr: i64, what: &str, id: u32) {
    let keep = Arg::from(-1);
    let args = [keep.clone(), Arg::from(u64::from(id)), keep];
    planner.call(Call::new(format!("be {what} {id}"), nr, args));
}
