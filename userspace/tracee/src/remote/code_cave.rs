// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A code cave: room for our code in a program that does not cooperate, after its vDSO.
//!
//! The vDSO is an ELF image that does not fill its last page. A tracer may write to the rest of
//! that page, as a debugger does to set a breakpoint: the kernel gives the process its own copy of
//! the page (mm/gup.c: `FOLL_FORCE`; `VM_MAYWRITE` of arch/x86/entry/vdso/vma.c). The program
//! cannot write there, and nothing reads it.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use crust_arch::vdso;
use crust_model::{Error, Result};
use crust_sys::stub::{self, RecoveryFrame};
use crust_sys::{RemoteAddr, memory, word};
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use zerocopy::IntoBytes;

use crate::frozen_process::FrozenProcess;

const PAGE: u64 = 4096;

/// The number of threads of a process that are worth borrowing at the same time.
const SLOTS: usize = 8;

/// The code that makes calls and finds the way back ([`stub`]), in a process, with the data it
/// needs for each thread that is borrowed. Dropping this removes it again.
#[derive(Debug)]
pub struct CodeCave {
    pid: i32,
    memory: File,
    at: RemoteAddr,
    slots: usize,
}

/// The part of a cave that belongs to one thread.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    cave: &'a CodeCave,
    frame: RemoteAddr,
}

impl CodeCave {
    /// Writes the code into a process; `None` if its vDSO leaves no room, or the kernel does not
    /// let us write there (`proc_mem.force_override=never`). There is a slot for each thread, or as
    /// many as fit.
    pub fn of(process: &FrozenProcess) -> Option<Self> {
        let pid = process.task();
        // The instruction was searched for in the first page only (freeze.rs).
        let base = RemoteAddr(process.syscall_insn?.0 & !(PAGE - 1));
        let end = image_end(pid, base)?;
        let mut rest = vec![0; word::to_size(end.next_multiple_of(PAGE) - end)];
        memory::read(pid, base.offset(end), &mut rest).ok()?;
        let memory = openat(
            process.proc.as_fd(),
            "mem",
            OFlag::O_RDWR | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        let most = process.threads.len().clamp(1, SLOTS);
        let (slots, place) = (1..=most)
            .rev()
            .find_map(|slots| Some((slots, free(&rest, size(slots))?)))?;
        let cave = Self {
            pid,
            memory: memory.ok()?.into(),
            at: base.offset(end + place as u64),
            slots,
        };
        let mut code = stub::code().to_vec();
        for _ in 0..slots {
            code.extend(stub::leave());
            code.extend(RecoveryFrame::default().as_bytes());
        }
        cave.memory.write_all_at(&code, cave.at.0).ok()?;
        Some(cave)
    }

    /// Returns how many threads can be borrowed at the same time.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Returns the slot with this number.
    #[must_use]
    pub fn slot(&self, number: usize) -> Slot<'_> {
        debug_assert!(number < self.slots);
        let frame = size(number) + stub::leave().len();
        Slot {
            cave: self,
            frame: self.at.offset(frame as u64),
        }
    }
}

impl Slot<'_> {
    /// Returns the address in the process of a place in [`stub`].
    pub(super) fn code(&self, place: u64) -> RemoteAddr {
        self.cave.at.offset(place)
    }

    /// Returns the address of a field of the [`RecoveryFrame`].
    pub(super) fn frame(&self, field: usize) -> RemoteAddr {
        self.frame.offset(field as u64)
    }

    /// Writes a part of the [`RecoveryFrame`], starting at a field.
    pub(super) fn write(&self, field: usize, bytes: &[u8]) -> Result<()> {
        debug_assert!(field + bytes.len() <= size_of::<RecoveryFrame>());
        self.cave
            .memory
            .write_all_at(bytes, self.frame(field).0)
            .map_err(|error| {
                let errno = Errno::from_raw(error.raw_os_error().unwrap_or_default());
                Error::task(self.cave.pid, "write behind the vDSO", errno)
            })
    }
}

impl Drop for CodeCave {
    fn drop(&mut self) {
        // This can only fail if the process has died.
        let zeros = vec![0; size(self.slots)];
        let _ = self.memory.write_all_at(&zeros, self.at.0);
    }
}

/// Returns the number of bytes that a cave needs.
fn size(slots: usize) -> usize {
    stub::code().len() + slots * (stub::leave().len() + size_of::<RecoveryFrame>())
}

/// Returns where the image of the vDSO ends: it is the same for all 64-bit processes.
fn image_end(pid: i32, base: RemoteAddr) -> Option<u64> {
    static KNOWN: OnceLock<u64> = OnceLock::new();
    if let Some(&known) = KNOWN.get() {
        return Some(known);
    }
    let mut page = vec![0; word::to_size(PAGE)];
    memory::read(pid, base, &mut page).ok()?;
    let end = vdso::image_length(&page)?;
    Some(*KNOWN.get_or_init(|| end))
}

/// Returns the first place that is free: a crust that was killed may have left its code, and a
/// signal handler may have interrupted the way back.
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
        let size = size(1);
        let mut rest = vec![0; 2 * size];
        assert_eq!(free(&rest, size), Some(0));
        rest[20] = 1;
        assert_eq!(free(&rest, size), Some(32));
        rest[32 + size - 1] = 1;
        assert_eq!(free(&rest, size), None);
        assert_eq!(free(&[0; 16], size), None);
    }
}
