// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The instructions by which programs make system calls: one of the vDSO, to which a stopped thread can be pointed,
//! and the one by which a thread has made the call in which it is.

use std::sync::atomic::{AtomicU64, Ordering};

use crust_sys::ptrace::UserRegs;
use crust_sys::{RemoteAddr, memory};

/// `syscall`.
pub const SYSCALL: [u8; 2] = [0x0f, 0x05];
/// `int $0x80`: the call is one of 32-bit programs, and has another number.
pub const INTERRUPT: [u8; 2] = [0xcd, 0x80];

/// The instruction before whose return a thread stands.
pub fn before(tid: i32, registers: &UserRegs) -> Option<[u8; 2]> {
    let mut code = [0; 2];
    let before = RemoteAddr(registers.rip.wrapping_sub(2));
    memory::read(tid, before, &mut code).ok()?;
    Some(code)
}

/// The number of the call before whose return a thread stands, by the instruction that loads it.
///
/// A call that has been interrupted and continued before is `restart_syscall` to the kernel.
pub fn number_before(tid: i32, registers: &UserRegs) -> Option<u32> {
    // mov $nr, %eax; then the call
    let mut code = [0; 5];
    let from = RemoteAddr(registers.rip.wrapping_sub(7));
    memory::read(tid, from, &mut code).ok()?;
    let [0xb8, a, b, c, d] = code else {
        return None;
    };
    Some(u32::from_le_bytes([a, b, c, d]))
}

/// Where the vDSO of a process with this auxiliary vector is.
pub fn vdso(auxv: &[u8]) -> Option<RemoteAddr> {
    const AT_SYSINFO_EHDR: u64 = 33;
    auxv.chunks_exact(16).find_map(|pair| {
        let word = |at: usize| u64::from_ne_bytes(pair[at..at + 8].try_into().expect("8 bytes"));
        (word(0) == AT_SYSINFO_EHDR).then(|| RemoteAddr(word(8)))
    })
}

/// The first `mov $number, %eax; syscall` of a vDSO at this address.
///
/// All 64-bit processes have the same one, so the place that was found once is only looked at again.
pub fn in_vdso(pid: i32, vdso: RemoteAddr) -> Option<RemoteAddr> {
    // The vDSO has at least this size: one page.
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
