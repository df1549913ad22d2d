// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Room for our code in a program that has not been told of it: behind its vDSO.
//!
//! The vDSO is an ELF image that does not end where its last page ends. A tracer may write there, as
//! a debugger does for a breakpoint: the kernel gives the process its own copy of the page
//! (mm/gup.c: `FOLL_FORCE`; `VM_MAYWRITE` of arch/x86/entry/vdso/vma.c). The program cannot write
//! there, and nothing reads it.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use crust_sys::stub::{self, Frame};
use crust_sys::{RemoteAddr, memory};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::object::mapping::vdso;
use crate::subject::FrozenProcess;
use crate::{Error, Result};

const PAGE: u64 = 4096;

/// Bytes of the program's memory for which there is room while they are borrowed: for a few calls, or,
/// if the vDSO leaves less, for what a single one writes.
const LENDABLE: [usize; 2] = [512, 32];

/// The code that makes calls and finds the way back ([`stub`]), in a process. Dropped, it is gone
/// again.
#[derive(Debug)]
pub struct Room {
    pid: i32,
    memory: File,
    at: RemoteAddr,
    lendable: usize,
}

impl Room {
    /// Puts the code into a process; `None` if its vDSO leaves no room, or the kernel does not let us
    /// write there (`proc_mem.force_override=never`).
    pub fn of(process: &FrozenProcess) -> Option<Self> {
        let pid = process.pid;
        // The instruction was looked for in the first page only (freeze.rs).
        let base = RemoteAddr(process.syscall_insn?.0 & !(PAGE - 1));
        let mut page = vec![0; PAGE as usize];
        memory::read(pid, base, &mut page).ok()?;
        let end = vdso::image_length(&page)?;
        let mut rest = vec![0; (end.next_multiple_of(PAGE) - end) as usize];
        memory::read(pid, base.offset(end), &mut rest).ok()?;
        let memory = openat(
            process.proc.as_fd(),
            "mem",
            OFlag::O_RDWR | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        let (lendable, place) = LENDABLE
            .into_iter()
            .find_map(|lendable| Some((lendable, free(&rest, size(lendable))?)))?;
        let room = Self {
            pid,
            memory: memory.ok()?.into(),
            at: base.offset(end + place as u64),
            lendable,
        };
        room.memory.write_all_at(stub::code(), room.at.0).ok()?;
        Some(room)
    }

    /// Where something of [`stub`] is in the process.
    pub(super) fn code(&self, place: u64) -> RemoteAddr {
        self.at.offset(place)
    }

    /// Where a field of the [`Frame`] is.
    pub(super) fn frame(&self, field: usize) -> RemoteAddr {
        self.code(stub::code().len() as u64 + field as u64)
    }

    /// How many bytes there is room for behind the [`Frame`].
    pub(super) fn lendable(&self) -> usize {
        self.lendable
    }

    /// Writes a part of the [`Frame`] and of what is behind it, from a field on.
    pub(super) fn write(&self, field: usize, bytes: &[u8]) -> Result<()> {
        self.memory
            .write_all_at(bytes, self.frame(field).0)
            .map_err(|error| {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                Error::task(self.pid, "write behind the vDSO", errno)
            })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // The process can only have died.
        let zeros = vec![0; size(self.lendable)];
        let _ = self.memory.write_all_at(&zeros, self.at.0);
    }
}

/// How much room is needed.
fn size(lendable: usize) -> usize {
    stub::code().len() + size_of::<Frame>() + lendable
}

/// The first place that is free: a tool that was killed may have left its code, and a signal handler
/// may have interrupted the way back.
fn free(rest: &[u8], size: usize) -> Option<usize> {
    let used = |start: usize| rest[start..start + size].iter().any(|&byte| byte != 0);
    let last = rest.len().checked_sub(size)?;
    (0..=last).step_by(16).find(|&start| !used(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leavings_are_left() {
        let size = size(32);
        let mut rest = vec![0; 2 * size];
        assert_eq!(free(&rest, size), Some(0));
        rest[20] = 1;
        assert_eq!(free(&rest, size), Some(32));
        rest[32 + size - 1] = 1;
        assert_eq!(free(&rest, size), None);
        assert_eq!(free(&[0; 16], size), None);
    }
}
