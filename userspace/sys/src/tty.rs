// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Queries to terminals (`ioctl_tty(2)`), for pseudo-terminals also from the controlling side of
//! the pair.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};

use crate::Result;
use crate::raw::{errno, syscall};

/// The size of `struct termios2`, in bytes.
pub const SETTINGS: usize = 44;

/// Makes a request that writes `N` bytes.
///
/// # Safety
///
/// The request must write no more.
unsafe fn read<const N: usize>(fd: BorrowedFd<'_>, request: libc::Ioctl) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    // SAFETY: promised by the caller.
    unsafe { syscall!(libc::SYS_ioctl, fd.as_raw_fd(), request, bytes.as_mut_ptr()) }?;
    Ok(bytes)
}

fn number(fd: BorrowedFd<'_>, request: libc::Ioctl) -> Result<i32> {
    // SAFETY: callers only pass requests that write an `int`.
    unsafe { read(fd, request) }.map(i32::from_ne_bytes)
}

/// Returns the settings (`struct termios2`); for the controlling side, those of the terminal.
pub fn settings(fd: BorrowedFd<'_>) -> Result<[u8; SETTINGS]> {
    // SAFETY: the request writes one `struct termios2`.
    unsafe { read(fd, libc::TCGETS2) }
}

/// Returns the rows and columns, and the width and height in pixels (`struct winsize`).
pub fn size(fd: BorrowedFd<'_>) -> Result<[u8; 8]> {
    // SAFETY: the request writes one `struct winsize`.
    unsafe { read(fd, libc::TIOCGWINSZ) }
}

/// Returns the session whose controlling terminal it is; `ENOTTY` if it has none.
pub fn session(fd: BorrowedFd<'_>) -> Result<i32> {
    number(fd, libc::TIOCGSID)
}

/// Returns the foreground process group.
pub fn foreground(fd: BorrowedFd<'_>) -> Result<i32> {
    number(fd, libc::TIOCGPGRP)
}

/// Returns the events of poll, and how many bytes can be read.
pub fn waiting(fd: BorrowedFd<'_>) -> Result<(PollFlags, i32)> {
    let mut polled = [PollFd::new(fd, PollFlags::POLLIN)];
    // Polling also waits for data on its way from the other side (drivers/tty/n_tty.c:n_tty_poll).
    poll(&mut polled, PollTimeout::ZERO)?;
    let events = polled[0].revents().unwrap_or(PollFlags::empty());
    Ok((events, number(fd, libc::FIONREAD)?))
}

/// Returns the device number.
pub fn device(fd: BorrowedFd<'_>) -> Result<u32> {
    number(fd, libc::TIOCGDEV).map(|number| u32::from_ne_bytes(number.to_ne_bytes()))
}

/// Returns whether the controlling side reads packets (`TIOCPKT`).
pub fn has_packets(fd: BorrowedFd<'_>) -> Result<bool> {
    number(fd, libc::TIOCGPKT).map(|number| number != 0)
}

/// Returns whether the terminal of this controlling side is locked, so that nobody can open it.
pub fn is_locked(fd: BorrowedFd<'_>) -> Result<bool> {
    number(fd, libc::TIOCGPTLCK).map(|number| number != 0)
}

/// Returns whether this terminal is in exclusive mode, so that nobody else can open it
/// (`TIOCEXCL`).
pub fn is_exclusive(fd: BorrowedFd<'_>) -> Result<bool> {
    number(fd, libc::TIOCGEXCL).map(|number| number != 0)
}

/// Opens the terminal of a controlling side. It must be open already, because the first open has
/// side effects.
pub fn peer(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    ioctl_tiocgptpeer(fd, flags).map_err(errno)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::errno::Errno;
    use nix::pty::openpty;

    use super::*;

    #[test]
    fn a_pair_of_our_own() {
        let Ok(pair) = openpty(None, None) else {
            return; // no devpts here
        };
        let (master, terminal) = (pair.master.as_fd(), pair.slave.as_fd());
        assert_eq!(settings(master), settings(terminal));
        assert_eq!(size(master), size(terminal));
        assert_eq!(session(master), Err(Errno::ENOTTY));
        assert_eq!(waiting(terminal), Ok((PollFlags::empty(), 0)));
        nix::unistd::write(terminal, b"x").unwrap();
        assert_eq!(waiting(master), Ok((PollFlags::POLLIN, 1)));
        assert_eq!(has_packets(master), Ok(false));
        assert_eq!(is_locked(master), Ok(false));
        assert_eq!(is_exclusive(terminal), Ok(false));
        assert_eq!(device(peer(master).unwrap().as_fd()), device(terminal));
    }
}
