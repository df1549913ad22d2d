// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The XSAVE area of a thread, as in `NT_X86_XSTATE`: the parts that crust itself reads.

use std::arch::x86_64::{__cpuid_count, CpuidResult};
use std::sync::OnceLock;

use linux_raw_sys::general::__NR_map_shadow_stack;
use nix::errno::Errno;

use crate::raw::syscall;

/// The offset of `struct xstate_header`, after the legacy area; its first word says what is in use.
const HEADER: usize = 512;
/// The number of the state component of protection keys.
const PKRU: u32 = 9;

/// Returns the offset of PKRU in an XSAVE area; `None` if this processor has no protection keys, or
/// the kernel does not use them.
fn pkru_offset() -> Option<usize> {
    /// CPUID leaf 7, ECX: the kernel has enabled protection keys.
    const OSPKE: u32 = 1 << 4;
    static OFFSET: OnceLock<Option<usize>> = OnceLock::new();
    *OFFSET.get_or_init(|| {
        (leaf(0, 0).eax >= 0xd && leaf(7, 0).ecx & OSPKE != 0)
            .then(|| leaf(0xd, PKRU).ebx as usize)
            .filter(|&offset| offset > HEADER)
    })
}

/// Executes CPUID.
fn leaf(leaf: u32, subleaf: u32) -> CpuidResult {
    // SAFETY: every x86-64 processor has the instruction; it only writes registers.
    #[allow(unused_unsafe, reason = "newer compilers know that it is safe")]
    unsafe {
        __cpuid_count(leaf, subleaf)
    }
}

/// Returns whether memory can have protection keys on this machine.
#[must_use]
pub fn has_protection_keys() -> bool {
    pkru_offset().is_some()
}

/// Returns the size of an XSAVE area on this machine, and the state components that programs have;
/// `None` if the kernel does not tell (before Linux 5.16).
#[must_use]
pub fn here() -> Option<(usize, u64)> {
    const ARCH_GET_XCOMP_SUPP: u64 = 0x1021;
    let mut features = 0_u64;
    // SAFETY: the request writes 8 bytes.
    unsafe { syscall!(libc::SYS_arch_prctl, ARCH_GET_XCOMP_SUPP, &raw mut features) }.ok()?;
    Some((leaf(0xd, 0).ebx as usize, features))
}

/// Returns whether an XSAVE area fits this machine.
#[must_use]
pub fn fits(xstate: &[u8], (size, features): (usize, u64)) -> bool {
    xstate.len() == size && in_use(xstate).is_some_and(|in_use| in_use & !features == 0)
}

/// Returns whether the AMX tiles, or their configuration, are in use.
#[must_use]
pub fn has_tiles(xstate: &[u8]) -> bool {
    const TILES: u64 = 0b11 << 17;
    in_use(xstate).is_some_and(|in_use| in_use & TILES != 0)
}

/// Returns the state components that are not in their initial state (`XSTATE_BV`).
fn in_use(xstate: &[u8]) -> Option<u64> {
    let in_use = xstate.get(HEADER..HEADER + 8)?;
    Some(u64::from_ne_bytes(in_use.try_into().ok()?))
}

/// Returns whether threads can have shadow stacks on this machine.
#[must_use]
pub fn has_shadow_stacks() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        // SAFETY: a flag that does not exist is rejected; nothing is mapped.
        let result = unsafe { syscall!(__NR_map_shadow_stack.into(), 0, 0, u32::MAX) };
        result == Err(Errno::EINVAL)
    })
}

/// Returns the rights that a thread has on memory with protection keys (PKRU: two bits for each
/// key, access disable and write disable); `None` if there are no keys on this machine.
#[must_use]
pub fn pkru(xstate: &[u8]) -> Option<u32> {
    let offset = pkru_offset()?;
    if in_use(xstate)? & 1 << PKRU == 0 {
        // The initial state: everything is allowed.
        return Some(0);
    }
    let bytes = xstate.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_area_of_this_machine() {
        let Some((size, features)) = here() else {
            return; // an old kernel
        };
        // x87 and SSE.
        assert_eq!(features & 3, 3);
        let mut area = vec![0; size];
        area[HEADER] = 3;
        assert!(fits(&area, (size, features)));
        assert!(!fits(&area[..size - 64], (size, features)));
        area[HEADER + 7] = 0x40;
        assert!(!fits(&area, (size, features)));
    }

    #[test]
    fn as_the_kernel_says() {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let has = info.split_whitespace().any(|flag| flag == "ospke");
        assert_eq!(has_protection_keys(), has);
        let has = info.split_whitespace().any(|flag| flag == "user_shstk");
        assert_eq!(has_shadow_stacks(), has);
        let mut area = vec![0; 16 << 10];
        let Some(offset) = pkru_offset() else {
            assert_eq!(pkru(&area), None);
            return;
        };
        area[offset..offset + 4].copy_from_slice(&0x5555_5554_u32.to_ne_bytes());
        assert_eq!(pkru(&area), Some(0));
        area[HEADER + 1] = 2;
        assert_eq!(pkru(&area), Some(0x5555_5554));
        assert_eq!(pkru(&area[..100]), None);
    }
}
