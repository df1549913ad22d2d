// SPDX-License-Identifier: GPL-2.0

//! The state and the queues of a socket.

#![forbid(unsafe_code)]

use kernel::{
    checkpoint,
    fs::LocalFile,
    prelude::*,
    sync::aref::ARef,
    uapi, //
};

/// The socket, if no flag is given: none is defined.
fn open(fd: i32, flags: u32) -> Result<ARef<LocalFile>> {
    if flags != 0 {
        return Err(EINVAL);
    }
    Ok(LocalFile::fget(fd.try_into().map_err(|_| EBADF)?)?)
}

/// The answer begins with zeros, whatever the caller's structure held.
pub(crate) fn tcp(request: &mut uapi::ckpt_tcp) -> Result {
    let asked = *request;
    *request = uapi::ckpt_tcp {
        fd: asked.fd,
        child: asked.child,
        recv_buf: asked.recv_buf,
        recv_len: asked.recv_len,
        send_buf: asked.send_buf,
        send_len: asked.send_len,
        ..Zeroable::zeroed()
    };
    let file = open(asked.fd, asked.flags)?;
    checkpoint::read_tcp(&file, request)
}

/// As [`tcp`].
pub(crate) fn messages(request: &mut uapi::ckpt_messages) -> Result {
    let asked = *request;
    *request = uapi::ckpt_messages {
        fd: asked.fd,
        child: asked.child,
        buf: asked.buf,
        len: asked.len,
        ..Zeroable::zeroed()
    };
    let file = open(asked.fd, asked.flags)?;
    checkpoint::read_messages(&file, request)
}
