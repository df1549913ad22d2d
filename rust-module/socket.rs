// SPDX-License-Identifier: GPL-2.0

//! The state and the queues of a socket.

#![forbid(unsafe_code)]

use crate::uapi::{
    Socket,
    SocketQueue, //
};
use kernel::{
    checkpoint,
    prelude::*, //
};
use zerocopy::FromZeros;

/// The answer begins with zeros, whatever the caller's structure held.
pub(crate) fn read(request: &mut Socket) -> Result {
    if request.flags != 0 {
        return Err(EINVAL);
    }
    *request = Socket {
        pidfd: request.pidfd,
        fd: request.fd,
        pending_room: request.pending_room,
        pending_buf: request.pending_buf,
        ..Socket::new_zeroed()
    };
    checkpoint::read_socket(request.pidfd, request)
}

pub(crate) fn copy_queue(request: &mut SocketQueue) -> Result {
    if request.flags != 0 || request.pad != 0 {
        return Err(EINVAL);
    }
    checkpoint::copy_socket_queue(request.pidfd, request)
}
