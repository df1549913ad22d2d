// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The seccomp state of a thread (`seccomp(2)`): strict mode, or a chain of filters.
//!
//! The kernel shows the filters of a traced thread as classic BPF programs, to tracers that have `CAP_SYS_ADMIN` and no
//! filters themselves. It does not show which threads have the *same* filter rather than an equal one, which decides
//! whether one of them may give its filters to the others (`SECCOMP_FILTER_FLAG_TSYNC`). Equal prefixes of chains are
//! assumed to be the same: [`order`] installs each filter once, in a thread that then creates those that are to have it
//! too.
//!
//! While a task is restored it is traced, and its filters are suspended. They are installed while it still has all
//! privileges, with `SECCOMP_FILTER_FLAG_SPEC_ALLOW`: the speculation setting that is implied without that flag is
//! state of its own, the [`switches`](super::flags).

pub mod order;

use std::collections::HashMap;

use crust_model::object::State;
use crust_model::plan::{Call, Data, ProcessId, Stage, TaskId};
use crust_model::refusal::Refusals;
use crust_model::words::count;
use crust_model::{Error, Result, index};
use crust_sys::ptrace;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{ProcessAspect, ProcessView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfProcess;

const SET_MODE_STRICT: u64 = libc::SECCOMP_SET_MODE_STRICT as u64;
const SET_MODE_FILTER: u64 = libc::SECCOMP_SET_MODE_FILTER as u64;
const FLAG_LOG: u64 = libc::SECCOMP_FILTER_FLAG_LOG;
const FLAG_SPEC_ALLOW: u64 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW;
const ACTION: u32 = libc::SECCOMP_RET_ACTION_FULL;
const USER_NOTIF: u32 = libc::SECCOMP_RET_USER_NOTIF;

/// The size of an instruction (`struct sock_filter`) in bytes.
const INSTRUCTION: usize = 8;

const RUN_AS_ROOT: &str =
    "run crust as root of the machine, and outside of a container that filters its system calls";

/// A seccomp filter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Filter {
    /// The classic BPF program.
    program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_LOG`.
    log: bool,
}

/// The seccomp mode of a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Mode {
    Free,
    Strict,
    /// The numbers of its filters, in the order in which they were installed.
    Filters(Vec<u32>),
}

/// The seccomp state of a process of which at least one thread has a seccomp mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seccomp {
    filters: Vec<Filter>,
    threads: Vec<Mode>,
}

impl State for Seccomp {
    const TAG: u16 = 0x011a;
    const NAME: &'static str = "seccomp";
    const SUPPORT: &'static str = "strict mode, filters in their order and whether they log, of each \
                                   thread; threads that shared filters share them. Listeners \
                                   (SECCOMP_RET_USER_NOTIF) and native eBPF are refused";

    fn describe(&self) -> String {
        let longest = self.chains().iter().map(Vec::len).max().unwrap_or(0);
        let strict = self.threads.iter().filter(|mode| **mode == Mode::Strict);
        format!(
            "{}, {longest} in one thread at most; {} in strict mode",
            count(
                self.filters.len() as u64,
                "different filter",
                "different filters"
            ),
            count(strict.count() as u64, "thread", "threads")
        )
    }
}

impl Filter {
    /// Returns the code and constant of each instruction.
    fn instructions(&self) -> impl Iterator<Item = (u16, u32)> {
        self.program.chunks_exact(INSTRUCTION).map(|bytes| {
            let code = u16::from_ne_bytes([bytes[0], bytes[1]]);
            (
                code,
                u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            )
        })
    }

    /// Returns whether the filter may notify a listener. If its result is computed, any constant like the return value
    /// that does so is taken for it.
    fn asks_a_listener(&self) -> bool {
        const RETURN: u16 = 0x06;
        const RETURN_COMPUTED: u16 = 0x16;
        let computes = self.instructions().any(|(code, _)| code == RETURN_COMPUTED);
        self.instructions()
            .any(|(code, number)| number & ACTION == USER_NOTIF && (code == RETURN || computes))
    }

    /// Returns the call that installs the filter.
    pub(super) fn install(&self) -> Call {
        let length = (self.program.len() / INSTRUCTION) as u64;
        let program = Data::words(&[length, 0]).pointer(8, Data::new(self.program.clone()));
        let log = if self.log { FLAG_LOG } else { 0 };
        let args = [
            SET_MODE_FILTER.into(),
            (FLAG_SPEC_ALLOW | log).into(),
            program.into(),
        ];
        let what = format!("seccomp: install a filter of {length} instructions");
        Call::new(what, libc::SYS_seccomp, args)
    }
}

impl Seccomp {
    /// Refuses the restore if crust may not suspend filters.
    pub(super) fn check(pid: i32, cx: &mut PlanCx<'_>) {
        if !cx.features.own.can_suspend_filters() {
            cx.refusals.block(
                pid,
                "seccomp-suspend",
                "seccomp",
                "its system calls were filtered, and crust is not permitted to suspend the filters while it \
                 restores the program: that needs CAP_SYS_ADMIN, and that crust has none itself",
                RUN_AS_ROOT,
            );
        }
    }

    /// Returns the numbers of the filters of each thread.
    pub(super) fn chains(&self) -> Vec<Vec<u32>> {
        let chain = |mode: &Mode| match mode {
            Mode::Filters(chain) => chain.clone(),
            Mode::Free | Mode::Strict => Vec::new(),
        };
        self.threads.iter().map(chain).collect()
    }

    /// Returns a filter by its number.
    pub(super) fn filter(&self, number: u32) -> Result<&Filter> {
        self.filters
            .get(number as usize)
            .ok_or_else(|| Error::malformed(Self::NAME, "a filter is missing"))
    }
}

#[cfg(test)]
impl Seccomp {
    /// Creates the state of threads with these chains; filter `n` returns `n`.
    pub(super) fn of_chains(chains: &[&[u32]]) -> Self {
        let filter = |number: u32| {
            let [a, b, c, d] = number.to_ne_bytes();
            let program = vec![0x06, 0, 0, 0, a, b, c, d];
            Filter {
                program,
                log: false,
            }
        };
        let last = chains.iter().copied().flatten().max().copied().unwrap_or(0);
        Self {
            filters: (0..=last).map(filter).collect(),
            threads: chains
                .iter()
                .map(|chain| Mode::Filters(chain.to_vec()))
                .collect(),
        }
    }
}

/// The distinct filters of a process.
#[derive(Default)]
struct Library {
    numbers: HashMap<Filter, u32>,
    all: Vec<Filter>,
}

impl Library {
    /// Reads the filters of a thread; `None` if they cannot be captured.
    fn chain(&mut self, tid: i32, refusals: &mut Refusals) -> Result<Option<Vec<u32>>> {
        let mut chain = Vec::new();
        loop {
            let program = match ptrace::seccomp_filter(tid, chain.len()) {
                Ok(program) => program,
                Err(Errno::ENOENT) => return Ok(Some(chain)),
                Err(errno) => return unreadable(tid, errno, refusals).map(|()| None),
            };
            // A kernel before 4.16 does not report flags, and knows none.
            let flags = ptrace::seccomp_flags(tid, chain.len()).unwrap_or(0);
            let filter = Filter {
                program,
                log: flags & FLAG_LOG != 0,
            };
            if let Some(&number) = self.numbers.get(&filter) {
                chain.push(number);
                continue;
            }
            if filter.asks_a_listener() {
                refusals.block(
                    tid,
                    "seccomp-listener",
                    "seccomp",
                    "a filter leaves calls to a listener (SECCOMP_RET_USER_NOTIF); who listens, and which calls wait, \
                     cannot be read",
                    "run it without the program that supervises it, such as a container runtime",
                );
                return Ok(None);
            }
            let number = index::number(self.all.len());
            self.all.push(filter.clone());
            self.numbers.insert(filter, number);
            chain.push(number);
        }
    }
}

/// Refuses a thread whose filters cannot be read.
fn unreadable(tid: i32, errno: Errno, refusals: &mut Refusals) -> Result<()> {
    let (why, remedy) = match errno {
        Errno::EMEDIUMTYPE => (
            "a filter is not a classic BPF program, and the kernel does not show it",
            "start the program without its sandbox",
        ),
        Errno::EACCES | Errno::EPERM => (
            "crust is not permitted to read its filters: that needs CAP_SYS_ADMIN, and that crust has none itself",
            RUN_AS_ROOT,
        ),
        Errno::EINVAL | Errno::EIO => (
            "this kernel does not show its filters (PTRACE_SECCOMP_GET_FILTER)",
            "use Linux 4.4 or newer with CONFIG_SECCOMP_FILTER and CONFIG_CHECKPOINT_RESTORE",
        ),
        errno => return Err(Error::task(tid, "read its seccomp filters", errno)),
    };
    refusals.block(tid, "seccomp-filters", "seccomp", why, remedy);
    Ok(())
}

impl Kind for Seccomp {
    type Source = OfProcess;
}

impl ProcessAspect for Seccomp {
    fn capture(view: &ProcessView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        const STRICT: i64 = libc::SECCOMP_MODE_STRICT as i64;
        const FILTER: i64 = libc::SECCOMP_MODE_FILTER as i64;
        let modes = view
            .threads
            .iter()
            .map(|text| text.status.number("Seccomp").unwrap_or(0));
        if modes.clone().all(|mode| mode == 0) {
            return Ok(None);
        }
        if !view.process.filters_rest() {
            capture.refusals.block(
                view.process.pid,
                "seccomp-suspend",
                "seccomp",
                "its system calls are filtered, and crust is not permitted to suspend the filters: that needs \
                 CAP_SYS_ADMIN, and that crust has none itself",
                RUN_AS_ROOT,
            );
            return Ok(None);
        }
        let mut library = Library::default();
        let mut threads = Vec::new();
        for (thread, mode) in view.process.threads.iter().zip(modes) {
            threads.push(match mode {
                0 => Mode::Free,
                STRICT => Mode::Strict,
                FILTER => match library.chain(thread.tid, &mut capture.refusals)? {
                    Some(chain) => Mode::Filters(chain),
                    None => return Ok(None),
                },
                mode => {
                    return Err(Error::malformed(
                        format!("thread {}", thread.tid),
                        format!("it has seccomp mode {mode}, which this crust does not know"),
                    ));
                }
            });
        }
        if view.process.ended_leader.is_some() {
            // The leader exists again while it creates the other threads, in the mode of one of them.
            let first = threads.iter().find(|mode| **mode != Mode::Strict);
            threads.insert(0, first.cloned().unwrap_or(Mode::Free));
        }
        Ok(Some(Self {
            filters: library.all,
            threads,
        }))
    }

    /// Plans strict mode. Filters are installed while threads are created: see `tree`.
    fn plan(&self, process: ProcessId, cx: &mut PlanCx<'_>) -> Result<()> {
        for (thread, mode) in (0..).zip(&self.threads) {
            if *mode == Mode::Strict {
                let args = [SET_MODE_STRICT.into(), 0.into(), 0.into()];
                let call = Call::new("seccomp: strict mode", libc::SYS_seccomp, args);
                let task = TaskId { process, thread };
                // At this stage no more threads are created, which would inherit it.
                cx.plan.call(Stage::Attributes, task, call);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a filter from the code and constant of each instruction.
    fn filter(instructions: &[(u16, u32)]) -> Filter {
        let bytes = |&(code, number): &(u16, u32)| {
            let [a, b] = code.to_ne_bytes();
            let [c, d, e, f] = number.to_ne_bytes();
            [a, b, 0, 0, c, d, e, f]
        };
        Filter {
            program: instructions.iter().flat_map(bytes).collect(),
            log: true,
        }
    }

    #[test]
    fn listeners_are_seen() {
        const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
        // Return; load a constant; return the computed value.
        assert!(filter(&[(0x20, 0), (0x06, USER_NOTIF | 7), (0x06, ALLOW)]).asks_a_listener());
        assert!(filter(&[(0x00, USER_NOTIF), (0x16, 0)]).asks_a_listener());
        // This one compares an argument with that number.
        assert!(!filter(&[(0x15, USER_NOTIF), (0x06, ALLOW)]).asks_a_listener());
        assert!(!filter(&[(0x00, ALLOW), (0x16, 0)]).asks_a_listener());
    }

    #[test]
    fn a_filter_is_installed_with_its_flags() {
        let call = filter(&[(0x06, 0), (0x06, 1)]).install();
        assert_eq!(call.args[..2], [1_u64.into(), 6_u64.into()]);
        let crust_model::plan::Arg::Data(program) = &call.args[2] else {
            panic!("no program");
        };
        assert_eq!(program.bytes[..8], 2_u64.to_ne_bytes());
        assert_eq!(
            (program.pointers[0].0, program.pointers[0].1.bytes.len()),
            (8, 16)
        );
    }
}
