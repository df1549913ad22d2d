// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Socket options by number, as bytes: a restore sets the bytes that a dump has read.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::raw::syscall;
use nix::errno::Errno;

use crate::{Result, word};

/// Reads an option into `value`; returns its length.
pub fn get(fd: BorrowedFd<'_>, level: i32, name: i32, value: &mut [u8]) -> Result<usize> {
    let mut length = libc::socklen_t::try_from(value.len()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the kernel writes at most `length` bytes to `value`, and the length to `length`.
    unsafe {
        syscall!(
            libc::SYS_getsockopt,
            fd.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr(),
            &raw mut length
        )
    }?;
    Ok(length as usize)
}

/// Reads an option that is an int.
pub fn get_int(fd: BorrowedFd<'_>, level: i32, name: i32) -> Result<i32> {
    let mut value = [0; 4];
    get(fd, level, name, &mut value)?;
    Ok(i32::from_ne_bytes(value))
}

/// Sets an option.
pub fn set(fd: BorrowedFd<'_>, level: i32, name: i32, value: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads as many bytes of `value` as it has.
    unsafe {
        syscall!(
            libc::SYS_setsockopt,
            fd.as_raw_fd(),
            level,
            name,
            value.as_ptr(),
            value.len()
        )
    }?;
    Ok(())
}

/// Sets an option that is an int.
pub fn set_int(fd: BorrowedFd<'_>, level: i32, name: i32, value: i32) -> Result<()> {
    set(fd, level, name, &value.to_ne_bytes())
}

/// A received message.
#[derive(Debug, Default)]
pub struct Received {
    /// The number of bytes written to the buffer.
    pub length: usize,
    /// The control messages, as the kernel laid them out.
    pub control: Vec<u8>,
    /// `MSG_TRUNC`, `MSG_CTRUNC`, `MSG_EOR`, ...
    pub flags: i32,
    /// The address of the sender.
    pub name: Vec<u8>,
}

/// Receives a message (`recvmsg(2)`) with room for `control` bytes of control messages, which are
/// returned unparsed. Descriptors in them are open in this process: the caller takes them with
/// [`descriptors`].
pub fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    control: usize,
    flags: i32,
) -> Result<Received> {
    let mut name = vec![0_u8; size_of::<libc::sockaddr_storage>()];
    // Control messages are aligned like a long.
    let mut room = vec![0_u64; control.div_ceil(8)];
    let mut io = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: a structure of pointers and integers may be all zeros.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = name.as_mut_ptr().cast();
    header.msg_namelen = libc::socklen_t::try_from(name.len()).map_err(|_| Errno::EINVAL)?;
    header.msg_iov = &raw mut io;
    header.msg_iovlen = 1;
    header.msg_control = room.as_mut_ptr().cast();
    header.msg_controllen = control;
    // SAFETY: all pointers in `header` point to buffers of the lengths given beside them.
    let length = unsafe { syscall!(libc::SYS_recvmsg, fd.as_raw_fd(), &raw mut header, flags) }?;
    name.truncate(header.msg_namelen as usize);
    let control = room
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .take(header.msg_controllen)
        .collect();
    Ok(Received {
        length: word::to_size(length),
        control,
        flags: header.msg_flags,
        name,
    })
}

/// Takes the descriptors of all `SCM_RIGHTS` messages that [`receive`] returned, in order. The
/// caller owns them from here on, so this takes the control messages away.
#[must_use]
pub fn descriptors(received: &mut Received) -> Vec<std::os::fd::OwnedFd> {
    let control = std::mem::take(&mut received.control);
    let mut all = Vec::new();
    let mut rest = control.as_slice();
    while let Some(head) = rest.first_chunk::<16>() {
        let length = usize::from_ne_bytes(head[0..8].try_into().expect("8 bytes"));
        let level = i32::from_ne_bytes(head[8..12].try_into().expect("4 bytes"));
        let kind = i32::from_ne_bytes(head[12..16].try_into().expect("4 bytes"));
        if length < 16 || length > rest.len() {
            break;
        }
        if level == libc::SOL_SOCKET && kind == libc::SCM_RIGHTS {
            for fd in rest[16..length].chunks_exact(4) {
                let fd = i32::from_ne_bytes(fd.try_into().expect("4 bytes"));
                // SAFETY: the kernel has just put this descriptor into our table, and the control
                // messages that name it are taken away, so nobody else owns it.
                all.push(unsafe { crate::raw::owned(word::from_int(fd)) });
            }
        }
        rest = rest.get(length.next_multiple_of(8)..).unwrap_or_default();
    }
    all
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::os::fd::AsFd;

    use nix::sys::socket::{
        AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair,
    };

    use super::*;

    #[test]
    fn descriptors_come_with_a_message() {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::Datagram,
            None,
            SockFlag::empty(),
        )
        .unwrap();
        let fds = [a.as_raw_fd(), b.as_raw_fd()];
        sendmsg::<()>(
            a.as_raw_fd(),
            &[IoSlice::new(b"hi")],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::empty(),
            None,
        )
        .unwrap();
        let mut buffer = [0; 8];
        let mut received = receive(b.as_fd(), &mut buffer, 64, libc::MSG_CMSG_CLOEXEC).unwrap();
        assert_eq!(&buffer[..received.length], b"hi");
        assert_eq!(descriptors(&mut received).len(), 2);
        assert!(descriptors(&mut received).is_empty());
    }
}
