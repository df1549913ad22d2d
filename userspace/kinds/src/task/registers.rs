// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The registers of a thread, its signal mask, and the system call that it is in.
//!
//! Registers are kept raw. A thread that was stopped within a system call has a kernel-internal error number in `rax`
//! (`-ERESTARTSYS` ...) and the number of the call in `orig_rax`; when the restored thread resumes, the kernel applies
//! its restart rules to them, as it would have done. Three states are more than registers:
//!
//! * `-ERESTART_RESTARTBLOCK`: how the call continues is kept in the kernel (`struct restart_block`). The thread makes
//!   the same call with what is left of its timeout and is interrupted at once, so that the kernel sets up the restart
//!   block itself.
//! * A call with a timeout of which the kernel keeps nothing ([`limit`](crust_tracee::syscall_timeout)).
//! * A call with a signal mask of its own ([`crust_arch::sigmask_syscalls`]): signals that arrive before it is
//!   restarted would meet the mask outside the call. The thread is resumed at the entry of that call.

use std::collections::BTreeSet;

use crust_arch::sigmask_syscalls;
use crust_model::object::State;
use crust_model::plan::{
    Call, Data, Operation, Processor, Remaining, Stage, Step, TaskHandle, TaskId, TimeoutLocation,
};
use crust_model::refusal::USE_THE_MODULE;
use crust_model::{Error, Result};
use crust_sys::errno::{ERESTART_RESTARTBLOCK, ERESTARTNOHAND};
use crust_sys::uapi::{self, restart};
use crust_sys::{RemoteAddr, memory, ptrace, word, xstate};
use crust_tracee::deadline::Deadline;
use crust_tracee::{instruction, syscall_timeout};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView, tree};
use crate::capture::Capture;
use crate::conflicts::Conflicts;
use crate::kind::{Kind, Kinds};
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// Linux's `ERESTART_RESTARTBLOCK`, which user space never sees.
const RESTART_BLOCK: i64 = -ERESTART_RESTARTBLOCK;
/// Linux's `ERESTARTNOHAND`: the call is restarted unless a signal handler runs first.
const UNLESS_HANDLED: i64 = -ERESTARTNOHAND;
/// The code segment of 64-bit programs (`__USER_CS`).
const CODE_64: u64 = 0x33;
/// The bit of a segment selector that refers to the local descriptor table.
const SELECTOR_LOCAL: u64 = 1 << 2;

/// How the interrupted system call of a thread continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Interrupted {
    /// A sleep with `left` nanoseconds left; `left_at` is the address at which the program wants the remaining time if
    /// a signal ends it.
    Sleep { clock: i32, left: u64, left_at: u64 },
    /// `poll`, with the nanoseconds left if it has a timeout.
    Poll {
        fds: u64,
        count: u32,
        left: Option<u64>,
    },
    /// A futex wait with `left` nanoseconds left.
    Futex {
        address: u64,
        operation: u32,
        value: u32,
        left: u64,
    },
    /// A futex wait until a point in time: the same call again.
    FutexUntil { args: [u64; 6] },
    /// The thread makes this call anew: until the same point in time, without a timeout, or with its full timeout.
    Anew { nr: u64 },
    /// The call is unknown; it returns `EINTR`.
    Lost,
    /// The call has a signal mask of its own, and is entered anew.
    Masked,
}

impl Interrupted {
    /// Returns whether the restart state of the call is known.
    fn is_known(&self) -> bool {
        !matches!(self, Self::Anew { .. } | Self::Lost | Self::Masked)
    }
}

/// The processor state of a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registers {
    general: Vec<u8>,
    xstate: Vec<u8>,
    signal_mask: u64,
    interrupted: Option<Interrupted>,
    limit: Option<Remaining>,
}

impl State for Registers {
    const TAG: u16 = 0x0101;
    const VERSION: u16 = 2;
    const NAME: &'static str = "registers";
    const SUPPORT: &'static str = "general registers and the whole XSTATE, signal mask; interrupted \
                                   system calls go on, sleeps for the time that was left";

    fn describe(&self) -> String {
        let at = ptrace::registers_from_bytes(&self.general).map_or(String::new(), |registers| {
            format!("at {:#x}, ", registers.rip)
        });
        let call = match &self.interrupted {
            None => String::new(),
            Some(call) => format!(", in a call: {call:?}"),
        };
        let limit = match self.limit {
            Some(Remaining {
                left: Some(left), ..
            }) => format!(", {left} ns of its wait are left"),
            _ => String::new(),
        };
        format!(
            "{at}{} bytes of extended state, blocked signals {:#x}{call}{limit}",
            self.xstate.len(),
            self.signal_mask
        )
    }
}

/// Returns the name of a system call that waits.
fn call_name(nr: i64) -> String {
    let name = match nr {
        libc::SYS_nanosleep => "nanosleep",
        libc::SYS_clock_nanosleep => "clock_nanosleep",
        libc::SYS_poll => "poll",
        libc::SYS_futex => "futex",
        libc::SYS_epoll_wait => "epoll_wait",
        libc::SYS_epoll_pwait => "epoll_pwait",
        libc::SYS_epoll_pwait2 => "epoll_pwait2",
        libc::SYS_rt_sigtimedwait => "sigtimedwait",
        libc::SYS_semtimedop => "semtimedop",
        libc::SYS_ppoll => "ppoll",
        libc::SYS_select | libc::SYS_pselect6 => "select",
        // The call was interrupted before.
        libc::SYS_restart_syscall => "sleep or wait",
        _ => return format!("system call {nr}"),
    };
    name.into()
}

/// Returns whether the thread is in a system call whose own signal mask differs from the mask outside the call.
fn is_masked(view: &ThreadView<'_>, signal_mask: u64) -> bool {
    let registers = &view.thread.registers;
    sigmask_syscalls::in_call(registers)
        && view
            .text
            .status
            .hex("SigBlk")
            .is_some_and(|own| own != signal_mask)
        && instruction::before(view.thread.tid, registers) == Some(instruction::SYSCALL)
}

/// Handles a call made by `int $0x80` for which the kernel has a restart block. If the restored thread re-entered it by
/// a call of its own, it would continue as a call with the number of a 64-bit program.
fn interrupted_32(view: &ThreadView<'_>, capture: &mut Capture<'_>) -> Interrupted {
    const RESTART_SYSCALL: u64 = 0;
    let (tid, registers) = (view.thread.tid, &view.thread.registers);
    let number = match registers.orig_rax {
        RESTART_SYSCALL => instruction::number_before(tid, registers).map(u64::from),
        nr => Some(nr),
    };
    let (will, interrupted) = match number {
        Some(nr) => ("gets all of its time again", Interrupted::Anew { nr }),
        None => ("returns EINTR", Interrupted::Lost),
    };
    capture.refusals.lose(
        tid,
        "int80",
        "system call",
        format!("a 64-bit program made it as a 32-bit one would (int $0x80): it {will}"),
        "nothing needs to be done, if the program bears that; else build it without such calls",
    );
    interrupted
}

fn interrupted(
    view: &ThreadView<'_>,
    signal_mask: u64,
    capture: &mut Capture<'_>,
) -> Option<Interrupted> {
    let registers = &view.thread.registers;
    let nr = word::to_long(registers.orig_rax);
    if nr < 0 {
        return None;
    }
    let tid = view.thread.tid;
    let name = call_name(nr);
    let result = word::to_long(registers.rax);
    if is_masked(view, signal_mask) {
        return Some(Interrupted::Masked);
    }
    let is_counted = capture.hooks.features().add_usage;
    if result == UNLESS_HANDLED && syscall_timeout::is_until_used(nr, registers) && !is_counted {
        capture.refusals.lose(
            tid,
            "cpu-sleep",
            &name,
            "it sleeps until the process has used a certain CPU time, which this kernel counts from zero on for a \
             restored process: it sleeps for longer",
            USE_THE_MODULE,
        );
    }
    if result != RESTART_BLOCK {
        return None;
    }
    if instruction::before(tid, registers) == Some(instruction::INTERRUPT) {
        return Some(interrupted_32(view, capture));
    }
    let block = &view.kernel.restart;
    let args = syscall_timeout::arguments(registers);
    match block.kind {
        restart::NANOSLEEP => {
            return Some(Interrupted::Sleep {
                clock: block.clock,
                left: block.remaining,
                left_at: block.addr,
            });
        }
        restart::POLL => {
            return Some(Interrupted::Poll {
                fds: block.addr,
                count: block.val,
                left: (block.remaining != u64::MAX).then_some(block.remaining),
            });
        }
        restart::FUTEX => return Some(futex(block, args)),
        _ => {}
    }
    let Some(limit) = view.thread.limit else {
        capture.refusals.lose(
            tid,
            "interrupted-call",
            name,
            "this kernel does not tell how to continue it: it returns EINTR",
            USE_THE_MODULE,
        );
        return Some(Interrupted::Lost);
    };
    let call = limit.left().and_then(|left| kept(limit.number, args, left));
    Some(call.unwrap_or(Interrupted::Anew {
        nr: word::from_long(limit.number),
    }))
}

/// Returns the restart state of a call, derived from its arguments, for a kernel that does not report it.
fn kept(nr: i64, args: [u64; 6], left: u64) -> Option<Interrupted> {
    let call = match nr {
        libc::SYS_nanosleep => Interrupted::Sleep {
            clock: libc::CLOCK_MONOTONIC,
            left,
            left_at: args[1],
        },
        libc::SYS_clock_nanosleep => Interrupted::Sleep {
            clock: word::to_int(args[0]),
            left,
            left_at: args[3],
        },
        libc::SYS_poll => Interrupted::Poll {
            fds: args[0],
            count: word::to_uint(args[1]),
            left: Some(left),
        },
        libc::SYS_futex if syscall_timeout::is_relative(args[1]) => Interrupted::Futex {
            address: args[0],
            operation: word::to_uint(args[1]),
            value: word::to_uint(args[2]),
            left,
        },
        _ => return None,
    };
    Some(call)
}

/// The remedy for a call that gets all of its time again.
const FULL_TIME: &str = "nothing needs to be done, if the program bears that the call takes longer";

/// Returns what is left of the timeout of a call, if crust rather than the kernel has to maintain it. Reports the loss
/// of a timeout of which nothing is known, or that cannot be changed.
fn limit(
    view: &ThreadView<'_>,
    interrupted: Option<&Interrupted>,
    capture: &mut Capture<'_>,
) -> Option<Remaining> {
    let ThreadView {
        thread, process, ..
    } = *view;
    let limit = thread.limit.filter(|_| process.stopped.is_none())?;
    let mut lose = |why: &str, remedy: &str| {
        let why = format!("{why}: it gets all of its time again");
        let name = call_name(limit.number);
        capture
            .refusals
            .lose(thread.tid, "interrupted-call", name, why, remedy);
    };
    if limit.end == Deadline::Unknown {
        let by_module = limit.place == TimeoutLocation::Kernel;
        if !(by_module && interrupted.is_some_and(Interrupted::is_known)) {
            let remedy = if by_module { USE_THE_MODULE } else { FULL_TIME };
            lose("this kernel does not tell since when it waits", remedy);
        }
        return None;
    }
    let address = match limit.place {
        TimeoutLocation::Register => return None,
        TimeoutLocation::Timespec(address) | TimeoutLocation::Timeval(address) => {
            Some(RemoteAddr(address))
        }
        TimeoutLocation::Receive(_) | TimeoutLocation::Send(_) | TimeoutLocation::Kernel => None,
    };
    if let Some(address) = address {
        let mut same = [0; 16];
        let there = memory::read(process.task(), address, &mut same)
            .and_then(|()| memory::write(process.task(), address, &same));
        if there.is_err() {
            lose(
                "its time limit is in memory that cannot be written",
                FULL_TIME,
            );
            return None;
        }
    }
    Some(Remaining {
        number: limit.number,
        place: limit.place,
        left: limit.left(),
    })
}

fn futex(block: &uapi::Restart, args: [u64; 6]) -> Interrupted {
    let modifiers = libc::FUTEX_PRIVATE_FLAG | libc::FUTEX_CLOCK_REALTIME;
    if word::to_int(args[1]) & !modifiers == libc::FUTEX_WAIT {
        Interrupted::Futex {
            address: block.addr,
            operation: word::to_uint(args[1]),
            value: block.val,
            left: block.remaining,
        }
    } else {
        // All other waits are given a point in time, which does not change.
        Interrupted::FutexUntil { args }
    }
}

/// Returns the call that requests permission to use AMX tiles.
pub(super) fn ask_for_tiles() -> Call {
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const TILES: u64 = 18;
    Call::new(
        "ask for AMX",
        libc::SYS_arch_prctl,
        [ARCH_REQ_XCOMP_PERM.into(), TILES.into()],
    )
}

impl Kind for Registers {
    type Source = OfThread;

    /// Refuses processes whose registers this processor does not have.
    fn conflicts(_: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        let Some(here) = xstate::here() else {
            return Ok(());
        };
        let mut told = BTreeSet::new();
        for (owner, registers) in cx.image.all::<Self>() {
            if !xstate::fits(&registers.xstate, here) && told.insert(owner.process()) {
                cx.refusals.block(
                    tree::number(cx.image, owner.task()),
                    "extended-registers",
                    "extended registers",
                    format!(
                        "they are those of another processor: they have {} bytes, and {} here",
                        registers.xstate.len(),
                        here.0
                    ),
                    "restore it on a processor with the same features (flags in /proc/cpuinfo)",
                );
            }
        }
        Ok(())
    }
}

impl ThreadAspect for Registers {
    fn capture(view: &ThreadView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        let thread = view.thread;
        let registers = &thread.registers;
        let selectors = [registers.ds, registers.es, registers.fs, registers.gs];
        if registers.cs != CODE_64
            || selectors
                .iter()
                .any(|selector| selector & SELECTOR_LOCAL != 0)
        {
            capture.refusals.block(
                thread.tid,
                "code-32-bit",
                format!("thread {}", thread.tid),
                "it executes 32-bit code or has segments of its own, which are not carried over yet",
                "run a 64-bit build of the program",
            );
        }
        let failed = |what: &'static str| move |errno| Error::task(thread.tid, what, errno);
        let xstate = ptrace::xstate(thread.tid).map_err(failed("read the extended state"))?;
        let signal_mask = thread.mask;
        let interrupted = interrupted(view, signal_mask, capture);
        Ok(Some(Self {
            general: ptrace::register_bytes(registers).into(),
            xstate,
            signal_mask,
            interrupted,
            limit: limit(view, interrupted.as_ref(), capture),
        }))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        let mut registers = ptrace::registers_from_bytes(&self.general)
            .ok_or_else(|| Error::malformed("registers", "there are not as many as x86-64 has"))?;
        let mut again = None;
        match self.interrupted {
            Some(Interrupted::Anew { nr }) => {
                registers.rax = word::from_long(UNLESS_HANDLED);
                registers.orig_rax = nr;
            }
            Some(Interrupted::Lost) => {
                registers.rax = word::from_int(-(Errno::EINTR as i32));
                registers.orig_rax = u64::MAX;
            }
            None | Some(Interrupted::Masked) => {}
            Some(call) => again = Some(Step::Reenter(reenter(call))),
        }
        let processor = Processor {
            general: ptrace::register_bytes(&registers).into(),
            xstate: self.xstate.clone(),
            signal_mask: self.signal_mask,
            enters: self.interrupted == Some(Interrupted::Masked),
            limit: self.limit,
        };
        if xstate::has_tiles(&self.xstate) {
            let call = ask_for_tiles();
            cx.plan.call(Stage::Attributes, task, call);
            cx.plan.operate(Stage::Resume, task, LoadTiles);
        }
        let step = Step::SetProcessor(Box::new(processor));
        for step in [step].into_iter().chain(again) {
            cx.plan.step(Stage::Resume, task, step);
        }
        Ok(())
    }
}

/// Has the thread load its AMX tiles, so that its state has room for them.
#[derive(Debug)]
struct LoadTiles;

impl Operation for LoadTiles {
    fn describe(&self) -> String {
        "touch its tiles (AMX)".into()
    }

    fn run(&self, task: &mut dyn TaskHandle) -> Result<()> {
        task.load_tiles()
    }
}

/// Returns the call that puts the thread back into the interrupted state.
fn reenter(call: Interrupted) -> Call {
    let seconds = |ns: u64| Data::words(&[ns / 1_000_000_000, ns % 1_000_000_000]);
    match call {
        Interrupted::Sleep {
            clock,
            left,
            left_at,
        } => Call::new(
            "sleep for the time that is left",
            libc::SYS_clock_nanosleep,
            [clock.into(), 0.into(), seconds(left).into(), left_at.into()],
        ),
        Interrupted::Poll { fds, count, left } => {
            // The timeout is in milliseconds; it is rounded up.
            let limit = left.map_or(-1, |left| {
                i32::try_from(left.div_ceil(1_000_000)).unwrap_or(i32::MAX)
            });
            let args = [fds.into(), u64::from(count).into(), limit.into()];
            Call::new("poll for the time that is left", libc::SYS_poll, args)
        }
        Interrupted::Futex {
            address,
            operation,
            value,
            left,
        } => Call::new(
            "wait for a futex for the time that is left",
            libc::SYS_futex,
            [
                address.into(),
                u64::from(operation).into(),
                u64::from(value).into(),
                seconds(left).into(),
            ],
        ),
        Interrupted::FutexUntil { args } => {
            Call::new("wait for a futex", libc::SYS_futex, args.map(Into::into))
        }
        Interrupted::Anew { .. } | Interrupted::Lost | Interrupted::Masked => {
            unreachable!("these are only registers")
        }
    }
    .may_fail()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_task::{Action, DONE, ScriptedTask, assert_fails};

    #[test]
    fn tiles_are_loaded() {
        let mut task = ScriptedTask::new([(Action::LoadTiles, DONE)]);
        LoadTiles.run(&mut task).unwrap();
        task.end();
        let mut task = ScriptedTask::new([(Action::LoadTiles, Err(Errno::EPERM))]);
        assert_fails(LoadTiles.run(&mut task), Errno::EPERM);
        task.end();
    }
}
