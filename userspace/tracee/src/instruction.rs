// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The instructions by which programs make system calls: one in the vDSO, to which a stopped thread
//! can be pointed, and the one by which a thread has made the call that it is in.

use std::sync::atomic::{AtomicU64, Ordering};

use crust_sys::ptrace::UserRegs;
use crust_sys::{RemoteAddr, memory};

/// `syscall`.
pub const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// `int $0x80`: a call of the 32-bit interface, with other call numbers.
pub const INTERRUPT: [u8; 2] = [0xcd, 0x80];

/// Returns the two bytes of code before the instruction pointer: the instruction by which the
/// thread made the call that it is in.
pub fn before(tid: i32, registers: &UserRegs) -> Option<[u8; 2]> {
    let mut code = [0; 2];
    let before = RemoteAddr(registers.rip.wrapping_sub(2));
    memory::read(tid, before, &mut code).ok()?;
    Some(code)
}

/// Returns the number of the call before whose return a thread is stopped, from the instruction
/// that loads it.
///
/// A call that has been interrupted and continued before is `restart_syscall` to the kernel.
pub fn number_before(tid: i32, registers: &UserRegs) -> Option<u32> {
    // mov $nr, %eax; then the call instruction
    let mut code = [0; 5];
    let from = RemoteAddr(registers.rip.wrapping_sub(7));
    memory::read(tid, from, &mut code).ok()?;
    let [0xb8, a, b, c, d] = code else {
        return None;
    };
    Some(u32::from_le_bytes([a, b, c, d]))
}

/// Returns the address of the vDSO of a process with this auxiliary vector.
pub fn vdso(auxv: &[u8]) -> Option<RemoteAddr> {
    auxv.chunks_exact(16).find_map(|pair| {
        let word = |at: usize| u64::from_ne_bytes(pair[at..at + 8].try_into().expect("8 bytes"));
        (word(0) == libc::AT_SYSINFO_EHDR).then(|| RemoteAddr(word(8)))
    })
}

/// Returns the first `mov $number, %eax; syscall` of the vDSO at this address.
///
/// All 64-bit processes have the same vDSO, so an offset that was found once is only verified.
pub(crate) fn in_vdso(pid: i32, vdso: RemoteAddr) -> Option<RemoteAddr> {
    // The vDSO is at least this large: one page.
    const SIZE: usize = 4096;
    static KNOWN: AtomicU64 = AtomicU64::new(0);
    let known = KNOWN.load(Ordering::Relaxed);
    if known != 0 {
        let place = vdso.offset(known);
        let mut there = [0; 2];
        if memory::read(pid, place, &mut there).is_ok() && there == SYSCALL {
            return Some(place);
        }
    }
    let mut code = vec![0; SIZE];
    memory::read(pid, vdso, &mut code).ok()?;
    // b8 nn nn 00 00 0f 05
    let at = code
        .windows(7)
        .position(|w| w[0] == 0xb8 && w[3..5] == [0, 0] && w[5..] == SYSCALL)?;
    let place = at as u64 + 5;
    KNOWN.store(place, Ordering::Relaxed);
    Some(vdso.offset(place))
}
