// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Pending signals: in the queue of a thread, and in that of its process.
//!
//! A task may send itself a signal with any `siginfo_t` (kernel/signal.c:do_rt_sigqueueinfo), also one that says that
//! the kernel or another process sent it. The restored task does so while it blocks all signals, in the order in which
//! they were queued.

use crust_model::object::State;
use crust_model::plan::{Call, Data, ProcessId, Stage, Step, TaskId};
use crust_model::{Error, Result};
use crust_proc::Fields;
use crust_sys::ptrace::{self, Queue};
use crust_sys::signal::{SigInfo, bit};
use crust_tracee::remote::END_OF_BATCH;
use serde::{Deserialize, Serialize};

use super::{ProcessAspect, ProcessView, ThreadAspect, ThreadView, missing};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::posix_timers::{Expired, ExpiredTimers};
use crate::task::{OfProcess, OfThread};

/// The pending signals in the queue of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    pub(super) signals: Vec<SigInfo>,
    /// The pid of the process.
    pid: i32,
}

/// The pending signals in the queue of a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    signals: Vec<SigInfo>,
    /// The pid of the process and the thread id.
    ids: (i32, i32),
}

/// Returns all pending signals of a queue, including those of which the kernel has only kept the number.
fn all(tid: i32, mut signals: Vec<SigInfo>, status: &Fields, field: &str) -> Result<Vec<SigInfo>> {
    // The mask may be older than the queue.
    let mask = status.hex(field).ok_or_else(|| missing(tid, field))?;
    // These two are represented by the state of the process, not by its queue.
    signals.retain(|info| info.signal() != libc::SIGSTOP && info.signal() != libc::SIGKILL);
    let with_info = signals
        .iter()
        .fold(0, |mask, info| mask | bit(info.signal()));
    let bare = mask & !with_info & !bit(libc::SIGSTOP) & !bit(libc::SIGKILL);
    signals.extend(
        (1..=64)
            .filter(|signal| bare & bit(*signal) != 0)
            .map(|signal| {
                // The kernel makes up SI_USER, from nobody, for them (collect_signal()).
                let mut bytes = signal.to_ne_bytes().to_vec();
                bytes.resize(SigInfo::SIZE, 0);
                SigInfo { bytes }
            }),
    );
    Ok(signals)
}

/// Plans for a task to queue signals, each by a call. The signal by which the task reports the end of a batch must wait
/// until there are no more batches. The signal of a timer comes by itself: the timer is made to expire, or still will
/// expire (if it expired only after it had been examined).
///
/// If another thread creates the timers, the signals are queued in a later stage than that.
fn queue(signals: &[SigInfo], task: TaskId, cx: &mut PlanCx<'_>, call: impl Fn(&SigInfo) -> Call) {
    let timer = |info: &SigInfo, cx: &PlanCx<'_>| {
        let id = (task.process, info.timer()?);
        Some((id, *cx.notes.get::<ExpiredTimers>()?.get(&id)?))
    };
    let has_timers = signals.iter().any(|info| timer(info, cx).is_some());
    let stage = if has_timers && task.thread != 0 {
        Stage::Resume
    } else {
        Stage::Timers
    };
    for info in signals {
        if let Some((id, expired)) = timer(info, cx) {
            for call in expired.iter().flat_map(Expired::again) {
                cx.plan.call(stage, task, call);
            }
            cx.notes.of::<ExpiredTimers>().insert(id, None);
        } else if info.signal() == END_OF_BATCH {
            let step = Step::CallAtLast(call(info));
            let task = match task.thread {
                0 => cx.survivor(task.process),
                _ => task,
            };
            cx.plan.step(Stage::Resume, task, step);
        } else {
            cx.plan.call(stage, task, call(info));
        }
    }
}

fn describe(signals: &[SigInfo]) -> String {
    let numbers: Vec<_> = signals
        .iter()
        .map(|info| info.signal().to_string())
        .collect();
    format!("signals {}", numbers.join(", "))
}

impl State for Shared {
    const TAG: u16 = 0x0104;
    const NAME: &'static str = "pending signals of the process";
    const SUPPORT: &'static str = "in their order, with their whole siginfo";

    fn describe(&self) -> String {
        describe(&self.signals)
    }
}

impl Kind for Shared {
    type Source = OfProcess;
}

impl ProcessAspect for Shared {
    fn capture(view: &ProcessView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let queued = view.signals()?.to_vec();
        let signals = all(view.leader.tid, queued, view.status, "ShdPnd")?;
        let pid = view.process.pid;
        Ok((!signals.is_empty()).then_some(Self { signals, pid }))
    }

    fn plan(&self, process: ProcessId, cx: &mut PlanCx<'_>) -> Result<()> {
        queue(&self.signals, process.leader(), cx, |info| {
            let signal = info.signal();
            let args = [
                self.pid.into(),
                signal.into(),
                Data::new(info.bytes.clone()).into(),
            ];
            let what = format!("pending signal {signal}");
            Call::new(what, libc::SYS_rt_sigqueueinfo, args)
        });
        Ok(())
    }
}

impl State for Private {
    const TAG: u16 = 0x0105;
    const NAME: &'static str = "pending signals of a thread";
    const SUPPORT: &'static str = "in their order, with their whole siginfo";

    fn describe(&self) -> String {
        describe(&self.signals)
    }
}

impl Kind for Private {
    type Source = OfThread;
}

impl ThreadAspect for Private {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let tid = view.thread.tid;
        let queued = ptrace::queued_signals(tid, Queue::Private)
            .map_err(|errno| Error::task(tid, "read the pending signals", errno))?;
        let signals = all(tid, queued, &view.text.status, "SigPnd")?;
        let ids = (view.process.pid, view.thread.tid);
        Ok((!signals.is_empty()).then_some(Self { signals, ids }))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        queue(&self.signals, task, cx, |info| {
            let signal = info.signal();
            let args = [
                self.ids.0.into(),
                self.ids.1.into(),
                signal.into(),
                Data::new(info.bytes.clone()).into(),
            ];
            let what = format!("pending signal {signal} of the thread");
            Call::new(what, libc::SYS_rt_tgsigqueueinfo, args)
        });
        Ok(())
    }
}
