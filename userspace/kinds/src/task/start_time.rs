// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The start time of a thread (field 22 of `/proc/PID/task/TID/stat`), in ticks, which is as precise as user space can
//! see. The start time of the leader is that of the process: see [`tree`](super::tree).

use std::os::fd::AsFd;

use crust_model::object::{State, decode, other_version};
use crust_model::plan::{Operation, Stage, TaskHandle, TaskId};
use crust_model::{Error, Result};
use crust_proc::Stat;
use crust_sys::pidfd;
use crust_tracee::clock;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView, usage};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// The clock tick of `/proc/PID/stat` (`USER_HZ`, 100 on x86) in nanoseconds.
pub(super) const TICK: u64 = 10_000_000;

/// The start time on the boot-time clock, as the kernel keeps it, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started(pub u64);

impl Started {
    /// Returns the start time in `stat`, to which the kernel has added the offset of crust's time namespace.
    pub(super) fn of(stat: &Stat) -> Self {
        let boottime = stat.field(22) * TICK;
        Self(boottime.saturating_add_signed(-clock::own_offsets().boottime))
    }

    /// Has the module set the start time once the task exists. Without the module it is lost, which is reported once,
    /// for the root.
    pub(super) fn set(self, stage: Stage, task: TaskId, cx: &mut PlanCx<'_>) {
        if cx.features.set_start {
            cx.plan.operate(stage, task, SetStart(self.0));
        }
    }
}

impl State for Started {
    const TAG: u16 = 0x0118;
    const VERSION: u16 = 2;
    const NAME: &'static str = "start of a thread";
    const SUPPORT: &'static str = "of each thread but the first, whose is that of the process (with \
                                   the module)";

    fn describe(&self) -> String {
        format!("{} ns after boot", self.0)
    }

    fn upgrade(version: u16, body: &[u8]) -> Result<Self> {
        match version {
            1 => {
                // On the monotonic clock too, which follows from the other.
                let (_monotonic, boottime): (u64, u64) = decode(Self::NAME, body)?;
                Ok(Self(boottime))
            }
            _ => Err(other_version::<Self>(version)),
        }
    }
}

impl Kind for Started {
    type Source = OfThread;
}

impl ThreadAspect for Started {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let other = view.number != 0;
        Ok(other.then(|| Self::of(&view.text.stat)))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        self.set(Stage::Resume, task, cx);
        Ok(())
    }
}

/// Has the module set the start time of a thread or, for the leader, of the process, in nanoseconds on the boot-time
/// clock.
#[derive(Debug)]
struct SetStart(u64);

impl Operation for SetStart {
    fn describe(&self) -> String {
        format!("module: set the start time to {} ns after boot", self.0)
    }

    fn run(&self, task: &mut dyn TaskHandle) -> Result<()> {
        let tid = task.tid();
        let failed = |errno| Error::task(tid, "set the start time", errno);
        let handle = match task.id().thread {
            0 => pidfd::open(task.pid()),
            _ => pidfd::open_thread(tid),
        };
        let handle = handle.map_err(failed)?;
        let (before, after) = task.offsets();
        // A start time is neither before the boot of the machine nor in the future.
        let boottime = self
            .0
            .saturating_add_signed(before.boottime - after.boottime)
            .min(clock::boottime());
        // The kernel expects the time as crust sees the clock.
        let boottime = boottime.saturating_add_signed(clock::own_offsets().boottime);
        match task.module()?.set_start(handle.as_fd(), boottime) {
            Err(Errno::EPERM) => {
                usage::lose_forbidden(task, "start time");
                Ok(())
            }
            result => result.map_err(failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use crust_model::plan::Offsets;

    use super::*;
    use crate::scripted_task::{Action, DONE, ScriptedTask, assert_fails};

    const START: u64 = 1_000_000;

    /// Returns a start time as crust sees the clock.
    fn seen(boottime: u64) -> Action<'static> {
        let own = clock::own_offsets().boottime;
        Action::SetStart(boottime.saturating_add_signed(own))
    }

    #[test]
    fn the_clock_of_the_task_may_have_another_offset_now() {
        let mut task = ScriptedTask::new([(seen(START + 200), DONE)]);
        let offset = |boottime| Offsets {
            boottime,
            ..Offsets::default()
        };
        task.offsets = (offset(500), offset(300));
        SetStart(START).run(&mut task).unwrap();
        task.end();
    }

    #[test]
    fn it_is_not_before_the_boot() {
        let mut task = ScriptedTask::new([(seen(0), DONE)]);
        task.offsets.1.boottime = i64::MAX;
        SetStart(START).run(&mut task).unwrap();
        task.end();
    }

    #[test]
    fn a_thread_has_its_own() {
        let mut task = ScriptedTask::new([(seen(START), DONE)]);
        task.id.thread = 1;
        if pidfd::open_thread(task.tid()).is_err() {
            eprintln!("skipped: the kernel has no pidfds of threads (Linux 6.9)");
            return;
        }
        SetStart(START).run(&mut task).unwrap();
        task.end();
    }

    #[test]
    fn without_privileges_it_is_lost() {
        let mut task = ScriptedTask::new([(seen(START), Err(Errno::EPERM))]);
        SetStart(START).run(&mut task).unwrap();
        assert_eq!(task.end(), ["start time"]);
        let mut task = ScriptedTask::new([(seen(START), Err(Errno::EINVAL))]);
        assert_fails(SetStart(START).run(&mut task), Errno::EINVAL);
        assert!(task.end().is_empty());
    }
}
