// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finding the boundaries of the kernel's buffers in a Unix stream.
//!
//! A message that carries descriptors is a buffer (`sk_buff`) of its own in the stream, but nothing
//! tells where it begins: `MSG_PEEK` returns it together with the data before it, and returns the
//! descriptors even if there is only room for the data before it (`net/unix/af_unix.c`,
//! `unix_stream_read_generic`, moves to the next buffer before it checks whether there is room).
//!
//! But each buffer is copied as a whole, and one that faults in the middle ends the call before it
//! is counted. So a read into memory whose end cannot be written returns whole buffers only.
//! counted. So a read into memory whose end cannot be written returns whole buffers only.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use crate::raw::syscall;
use crate::{Result, word};

/// Peeks at the stream (at `SO_PEEK_OFF`) and returns the total length of the buffers that fit into
/// `room` as a whole, up to the first that does not; 0 if not even the first one fits.
pub fn whole_buffers(socket: BorrowedFd<'_>, room: &mut [u8]) -> Result<usize> {
    let mut io = [
        libc::iovec {
            iov_base: room.as_mut_ptr().cast(),
            iov_len: room.len(),
        },
        // Nothing is mapped at 0, and the kernel writes no farther than one page.
        libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 4096,
        },
    ];
    // SAFETY: a structure of pointers and integers may be all zeros.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = io.as_mut_ptr();
    header.msg_iovlen = io.len();
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: the first buffer has the given length; the second cannot be written, which the kernel
    // detects. There is no room for control messages, so no descriptor is created.
    match unsafe {
        syscall!(
            libc::SYS_recvmsg,
            socket.as_raw_fd(),
            &raw mut header,
            flags
        )
    } {
        Ok(length) => Ok(word::to_size(length)),
        Err(Errno::EFAULT) => Ok(0),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_buffer_is_returned_whole_or_not_at_all() {
        let (mut a, b) = UnixStream::pair().unwrap();
        for text in ["first", "second", "third"] {
            a.write_all(text.as_bytes()).unwrap();
        }
        for (room, whole) in [(4, 0), (5, 5), (10, 5), (11, 11), (15, 11)] {
            let mut buffer = vec![0; room];
            assert_eq!(whole_buffers(b.as_fd(), &mut buffer), Ok(whole), "{room}");
        }
    }
}
