// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tests whether two tasks share a kernel object (`kcmp(2)`).

use std::cmp::Ordering;

use nix::errno::Errno;

use crate::raw::syscall;
use crate::{Result, word};

/// The kind of object to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Kind {
    /// The open file descriptions behind two descriptors.
    File = 0,
    /// The address space.
    Vm = 1,
    /// The descriptor table.
    Files = 2,
    /// The root, working directory and umask.
    Fs = 3,
    /// The signal actions.
    Sighand = 4,
    /// The I/O context.
    Io = 5,
    /// The list of semaphore adjustments.
    Sysvsem = 6,
}

fn kcmp(a: i32, b: i32, kind: i32, first: u64, second: u64) -> Result<Ordering> {
    // SAFETY: all arguments are numbers, except for `KCMP_EPOLL_TFD`, whose caller passes a pointer
    // to the structure that the request reads.
    match unsafe { syscall!(libc::SYS_kcmp, a, b, kind, first, second) }? {
        0 => Ok(Ordering::Equal),
        1 => Ok(Ordering::Less),
        2 => Ok(Ordering::Greater),
        // 3: different, but without an order; current kernels always return one (kernel/kcmp.c).
        _ => Err(Errno::EPROTO),
    }
}

/// Compares an object of two tasks: the order is total as long as the objects live.
pub fn tasks(a: i32, b: i32, kind: Kind) -> Result<Ordering> {
    kcmp(a, b, kind as i32, 0, 0)
}

/// Compares the open file descriptions of two descriptors.
pub fn files(a: (i32, i32), b: (i32, i32)) -> Result<Ordering> {
    kcmp(
        a.0,
        b.0,
        Kind::File as i32,
        word::from_int(a.1),
        word::from_int(b.1),
    )
}

/// Compares a descriptor of a process, `task`, with a target of an epoll instance: the one that was
/// registered as descriptor `target`, and is the `skip`th of those with this number
/// (`KCMP_EPOLL_TFD`).
pub fn epoll_target(
    task: (i32, i32),
    epoll: (i32, i32),
    target: i32,
    skip: u32,
) -> Result<Ordering> {
    let number = |fd| u32::try_from(fd).map_err(|_| Errno::EBADF);
    let slot = [number(epoll.1)?, number(target)?, skip];
    kcmp(
        task.0,
        epoll.0,
        7,
        word::from_int(task.1),
        slot.as_ptr() as u64,
    )
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_duplicate_is_the_same_file() {
        let us = std::process::id() as i32;
        let first = File::open("/dev/null").unwrap();
        let same = first.try_clone().unwrap();
        let other = File::open("/dev/null").unwrap();
        let compare = |a: &File, b: &File| files((us, a.as_raw_fd()), (us, b.as_raw_fd()));
        assert_eq!(compare(&first, &same), Ok(Ordering::Equal));
        assert_ne!(compare(&first, &other), Ok(Ordering::Equal));
    }
}
