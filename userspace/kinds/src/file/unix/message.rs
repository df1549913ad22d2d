// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Messages that wait in a Unix socket, which are read without consuming them and sent again.

use std::os::fd::{AsFd, OwnedFd};

use crust_model::Result;
use crust_model::plan::{Arg, Call, Data};
use crust_sys::peek;
use crust_sys::sockopt::{self, Received};
use libc::SOL_SOCKET;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::descriptor::DescriptionId;
use crate::file::collect::FileCapture;
use crate::file::fd_plan::FdPlanner;
use crate::file::probe::Probe;
use crate::file::unix_peer::Connection;

/// The room for control messages, in bytes: SCM_MAX_FD descriptors, and all others together.
const CONTROL: usize = 2048;

/// A message; for a stream, bytes that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The bytes of the message.
    pub data: Vec<u8>,
    /// The descriptors that it carries (`SCM_RIGHTS`).
    pub descriptors: Vec<DescriptionId>,
    /// The sender, if the receiver asks for it (`SO_PASSCRED`): pid, uid, gid.
    pub credentials: Option<(i32, u32, u32)>,
}

/// Reads all messages of a socket without consuming them.
pub(super) fn peek_all<'a>(
    probe: &Probe<'a>,
    socket: &OwnedFd,
    socket_type: i32,
    connection: &Connection,
    cx: &mut FileCapture<'a>,
) -> Result<Vec<Message>> {
    let queue = Queue {
        socket,
        before: sockopt::get_int(socket.as_fd(), SOL_SOCKET, libc::SO_PEEK_OFF)
            .map_err(|errno| probe.failed("SO_PEEK_OFF", errno))?,
    };
    let failed = |errno| probe.failed("peek into the Unix socket", errno);
    let mut messages = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    let mut offset = 0;
    while let Some(mut received) = queue.peek(offset, &mut buffer).map_err(failed)? {
        if received.flags & libc::MSG_TRUNC != 0
            || (socket_type == libc::SOCK_STREAM && received.length == buffer.len())
        {
            // Read all of it at once, or the rest would bring the descriptors a second time.
            drop(sockopt::descriptors(&mut received));
            buffer.resize(buffer.len() * 2, 0);
            continue;
        }
        let is_end = socket_type == libc::SOCK_STREAM || connection.shutdown & 1 != 0;
        if received.length == 0 && is_end {
            break;
        }
        let credentials = credentials(&received.control);
        let descriptors = sockopt::descriptors(&mut received);
        let mut data = &buffer[..received.length];
        if !descriptors.is_empty() && socket_type == libc::SOCK_STREAM {
            let begins = queue.last_begins(offset, data.len()).map_err(failed)?;
            if begins > 0 {
                messages.push(Message {
                    data: data[..begins].to_vec(),
                    descriptors: Vec::new(),
                    credentials,
                });
                data = &data[begins..];
            }
        }
        offset += received.length;
        let mut carried = Vec::new();
        for descriptor in descriptors {
            carried.push(cx.identify_in_flight(probe, descriptor)?);
        }
        let sender = credentials.map(|(pid, ..)| pid);
        let stranger = sender.filter(|&pid| !cx.tree.iter().any(|it| it.pid == pid));
        if let Some(pid) = stranger {
            cx.refuse(
                probe,
                "unix-sender-outside",
                format!(
                    "a message from {}, which is not in the tree, waits to be received \
                     with its sender's number (SO_PASSCRED)",
                    crust_proc::named(pid)
                ),
                "dump it when the program has received that message",
            );
        }
        messages.push(Message {
            data: data.to_vec(),
            descriptors: carried,
            credentials,
        });
    }
    Ok(messages)
}

/// The receive queue of a socket. Dropping it restores `SO_PEEK_OFF`.
struct Queue<'a> {
    socket: &'a OwnedFd,
    before: i32,
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // Setting it to another value succeeded before, and there is nobody to report a failure to.
        let _ = sockopt::set_int(
            self.socket.as_fd(),
            SOL_SOCKET,
            libc::SO_PEEK_OFF,
            self.before,
        );
    }
}

impl Queue<'_> {
    /// Sets the number of bytes that `MSG_PEEK` skips.
    fn peek_from(&self, offset: usize) -> nix::Result<()> {
        let offset = i32::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        let socket = self.socket.as_fd();
        sockopt::set_int(socket, SOL_SOCKET, libc::SO_PEEK_OFF, offset)
    }

    /// Returns what `recvmsg` would return if `offset` bytes had been consumed before.
    fn peek(&self, offset: usize, buffer: &mut [u8]) -> nix::Result<Option<Received>> {
        self.peek_from(offset)?;
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        match sockopt::receive(self.socket.as_fd(), buffer, CONTROL, flags) {
            Ok(received) => Ok(Some(received)),
            Err(Errno::EAGAIN | Errno::ENOTCONN | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Returns how many of the `length` bytes at `offset` come before the last buffer of the
    /// kernel, which carries descriptors.
    fn last_begins(&self, offset: usize, length: usize) -> nix::Result<usize> {
        self.peek_from(offset)?;
        let mut buffer = vec![0; length - 1];
        peek::whole_buffers(self.socket.as_fd(), &mut buffer)
    }
}

/// Returns the `SCM_CREDENTIALS` among control messages.
fn credentials(control: &[u8]) -> Option<(i32, u32, u32)> {
    let mut rest = control;
    while rest.len() >= 16 {
        let bytes = |at: usize| rest.get(at..at + 4)?.try_into().ok();
        let word = |at: usize| bytes(at).map(u32::from_ne_bytes);
        let length = word(0)? as usize;
        if word(8)? == SOL_SOCKET as u32 && word(12)? == libc::SCM_CREDENTIALS as u32 {
            let pid = bytes(16).map(i32::from_ne_bytes)?;
            // The sender's pid is 0 if the option was set after the message was sent.
            return (pid != 0).then_some((pid, word(20)?, word(24)?));
        }
        rest = rest.get(length.max(16).next_multiple_of(8)..)?;
    }
    None
}

impl Message {
    /// Returns how much of the sender's buffer the message may take, in bytes: the kernel charges
    /// more for an skb than its data.
    pub(super) fn room(&self) -> usize {
        self.data.len() * 2 + 4096
    }

    /// Emits the calls that send the message.
    pub(super) fn send(&self, sender: i32, planner: &mut FdPlanner) -> Result<()> {
        let mut control = Data::default();
        if let Some((pid, uid, gid)) = self.credentials {
            let body = [pid.to_ne_bytes(), uid.to_ne_bytes(), gid.to_ne_bytes()].concat();
            add_control(&mut control, libc::SCM_CREDENTIALS, &body);
        }
        if !self.descriptors.is_empty() {
            let mut body = Vec::new();
            for &descriptor in &self.descriptors {
                body.extend(planner.at(descriptor)?.to_ne_bytes());
            }
            add_control(&mut control, libc::SCM_RIGHTS, &body);
        }
        send(sender, &self.data, control, planner);
        Ok(())
    }
}

/// Appends a `struct cmsghdr` with its data.
fn add_control(control: &mut Data, kind: i32, body: &[u8]) {
    let bytes = &mut control.bytes;
    bytes.extend((16 + body.len() as u64).to_ne_bytes());
    bytes.extend(SOL_SOCKET.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
}

fn send(sender: i32, data: &[u8], control: Data, planner: &mut FdPlanner) {
    let length = data.len() as u64;
    let control_length = control.bytes.len() as u64;
    // struct iovec, then struct msghdr: name, its length, iov, its length, control, its length,
    // flags.
    let iov = Data::words(&[0, length]).pointer(0, Data::new(data));
    let mut header = Data::words(&[0, 0, 0, 1, 0, control_length, 0]).pointer(16, iov);
    if control_length != 0 {
        header = header.pointer(32, control);
    }
    let call = Call::new(
        format!("fd {sender}: send {length} bytes"),
        libc::SYS_sendmsg,
        [
            Arg::from(sender),
            Arg::from(header),
            Arg::from(libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL),
        ],
    );
    planner.call(call.must_return(length));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_among_others() {
        let mut control = Data::default();
        add_control(&mut control, libc::SCM_RIGHTS, &[5, 0, 0, 0]);
        let body = [7_u32, 8, 9].map(u32::to_ne_bytes).concat();
        add_control(&mut control, libc::SCM_CREDENTIALS, &body);
        assert_eq!(credentials(&control.bytes), Some((7, 8, 9)));
        assert_eq!(credentials(&control.bytes[..24]), None);
        assert_eq!(credentials(&[]), None);
    }
}
