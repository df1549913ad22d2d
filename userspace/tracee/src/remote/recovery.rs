// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state to which a thread is restored if crust dies while the thread is borrowed.

use crust_sys::errno::{ERESTART_RESTARTBLOCK, ERESTARTNOHAND, ERESTARTNOINTR, ERESTARTSYS};
use crust_sys::ptrace::UserRegs;
use crust_sys::stub::{RecoveryFrame, ends};
use crust_sys::word;

/// The number of `restart_syscall`, which continues a call as its restart block says.
const RESTART_SYSCALL: u64 = libc::SYS_restart_syscall as u64;

/// Returns the recovery frame of a thread with these registers. `mask` is the signal mask of the
/// program, `own_mask` that of the call that the thread is in, if the call has one of its own.
pub(super) fn way_back(registers: &UserRegs, mask: u64, own_mask: Option<u64>) -> RecoveryFrame {
    let mut r = *registers;
    let rip_ended = r.rip;
    // The kernel's treatment of an interrupted call (arch/x86/kernel/signal.c: handle_signal if
    // there is a handler, else arch_do_signal_or_restart).
    let code = match r.orig_rax {
        u64::MAX => 0,
        _ => word::to_long(r.rax).wrapping_neg(),
    };
    let again = match code {
        ERESTARTSYS => Some((r.orig_rax, ends::UNLESS_RESTART)),
        ERESTARTNOINTR => Some((r.orig_rax, ends::NEVER)),
        ERESTARTNOHAND => Some((r.orig_rax, ends::ALWAYS)),
        ERESTART_RESTARTBLOCK => Some((RESTART_SYSCALL, ends::ALWAYS)),
        _ => None,
    };
    if let Some((number, _)) = again {
        (r.rax, r.rip) = (number, r.rip.wrapping_sub(2));
    }
    RecoveryFrame {
        all: u64::MAX,
        mask,
        open: !(mask | own_mask.unwrap_or(0)),
        ends: again.map_or(ends::NEVER, |(_, ends)| ends),
        general: [
            r.r15, r.r14, r.r13, r.r12, r.rbp, r.rbx, r.r11, r.r10, r.r9, r.r8, r.rax, r.rcx,
            r.rdx, r.rsi, r.rdi,
        ],
        flags: r.eflags,
        rip: r.rip,
        rip_ended,
        ..RecoveryFrame::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the frame of a thread after a call with this number and result.
    fn frame(number: i64, result: i64) -> RecoveryFrame {
        let mut registers = crust_sys::ptrace::registers_from_bytes(&[0; 27 * 8]).unwrap();
        registers.orig_rax = number as u64;
        registers.rax = result as u64;
        registers.rip = 0x1002;
        way_back(&registers, 0b0110, Some(0b1100))
    }

    #[test]
    fn interrupted_calls_are_begun_again() {
        for (result, number, ends) in [
            (-512, 7, ends::UNLESS_RESTART),
            (-513, 7, ends::NEVER),
            (-514, 7, ends::ALWAYS),
            (-516, RESTART_SYSCALL, ends::ALWAYS),
        ] {
            let frame = frame(7, result);
            assert_eq!((frame.general[10], frame.rip), (number, 0x1000), "{result}");
            assert_eq!((frame.ends, frame.rip_ended), (ends, 0x1002), "{result}");
        }
    }

    #[test]
    fn others_return() {
        // No call; one that has completed; one that has failed.
        for (number, result) in [(-1, -514), (7, 3), (7, -4)] {
            let frame = frame(number, result);
            let state = (frame.general[10], frame.rip, frame.ends);
            assert_eq!(state, (result as u64, 0x1002, ends::NEVER));
        }
    }

    #[test]
    fn a_signal_must_pass_both_masks() {
        let frame = frame(7, -514);
        assert_eq!((frame.mask, frame.open), (0b0110, !0b1110));
    }
}
