// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The scheduling of a thread: policy, priority, CPU affinity, I/O priority.

use crust_model::object::State;
use crust_model::plan::{Call, Data, Stage, TaskId};
use crust_model::words::count;
use crust_model::{Error, Result};
use crust_sys::task;
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

const SCHED_FLAG_UTIL_CLAMP_MIN: u64 = libc::SCHED_FLAG_UTIL_CLAMP_MIN as u64;
const SCHED_FLAG_UTIL_CLAMP_MAX: u64 = libc::SCHED_FLAG_UTIL_CLAMP_MAX as u64;
/// The scale of utilisation clamps (`SCHED_CAPACITY_SCALE`).
const FULL: u32 = 1024;
const IOPRIO_WHO_PROCESS: u64 = 1;
/// The lowest bit of the class of an I/O priority; class 0 derives it from the CPU priority.
const IOPRIO_CLASS_SHIFT: u32 = 13;

/// The scheduling attributes of a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scheduling {
    attributes: task::Scheduling,
    /// The processors on which it may run, as the kernel's mask.
    affinity: Vec<u8>,
    io_priority: u32,
}

impl State for Scheduling {
    const TAG: u16 = 0x010C;
    const NAME: &'static str = "scheduling";
    const SUPPORT: &'static str =
        "policy, nice value, priority, utilisation clamps, affinity, I/O priority, of each thread";

    fn describe(&self) -> String {
        let attributes = &self.attributes;
        let processors: u32 = self.affinity.iter().map(|byte| byte.count_ones()).sum();
        let processors = count(processors.into(), "processor", "processors");
        format!(
            "policy {}, nice {}, priority {}, {processors}, I/O priority {:#x}",
            attributes.policy, attributes.nice, attributes.priority, self.io_priority
        )
    }
}

impl Kind for Scheduling {
    type Source = OfThread;
}

impl ThreadAspect for Scheduling {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let tid = view.thread.tid;
        let failed = |what: &str| {
            let what = what.to_owned();
            move |errno| Error::task(tid, what, errno)
        };
        let mut affinity = task::affinity(tid).map_err(failed("sched_getaffinity"))?;
        while affinity.last() == Some(&0) {
            affinity.pop();
        }
        let mut io_priority = task::io_priority(tid).map_err(failed("ioprio_get"))?;
        if io_priority >> IOPRIO_CLASS_SHIFT == 0 {
            io_priority = 0;
        }
        let mut attributes = task::scheduling(tid).map_err(failed("sched_getattr"))?;
        // The kernel keeps the nice value also under policies that do not use it, but the call does not report it for
        // them.
        attributes.nice = view.text.stat.int(19);
        Ok(Some(Self {
            attributes,
            affinity,
            io_priority,
        }))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        // The kernel accepts only whole longs.
        let mut mask = self.affinity.clone();
        mask.resize(mask.len().next_multiple_of(8), 0);
        let args = [0.into(), (mask.len() as u64).into(), Data::new(mask).into()];
        let call = Call::new("scheduling: affinity", libc::SYS_sched_setaffinity, args);
        cx.plan.call(Stage::Attributes, task, call);
        if !self.is_ordinary() {
            let args = [
                u64::from(libc::PRIO_PROCESS).into(),
                0.into(),
                self.attributes.nice.into(),
            ];
            let call = Call::new("scheduling: nice value", libc::SYS_setpriority, args);
            cx.plan.call(Stage::Attributes, task, call);
        }
        let args = [0.into(), self.attributes().into(), 0.into()];
        let call = Call::new("scheduling: attributes", libc::SYS_sched_setattr, args);
        cx.plan.call(Stage::Attributes, task, call);
        if self.io_priority != 0 {
            let args = [
                IOPRIO_WHO_PROCESS.into(),
                0.into(),
                u64::from(self.io_priority).into(),
            ];
            let call = Call::new("scheduling: I/O priority", libc::SYS_ioprio_set, args);
            cx.plan.call(Stage::Attributes, task, call);
        }
        Ok(())
    }
}

impl Scheduling {
    /// Returns whether the policy uses the nice value.
    fn is_ordinary(&self) -> bool {
        let ordinary = [libc::SCHED_OTHER as u32, libc::SCHED_BATCH as u32];
        ordinary.contains(&self.attributes.policy)
    }

    /// Returns the `struct sched_attr` that `sched_setattr(2)` takes.
    fn attributes(&self) -> Data {
        let attributes = &self.attributes;
        let real_time = attributes.policy == libc::SCHED_DEADLINE as u32;
        // The slice of an ordinary thread is reported as its runtime, and would be taken as a request (Linux 6.12:
        // kernel/sched/syscalls.c:__setparam_fair).
        let own = |value: u64| if real_time { value } else { 0 };
        let mut flags = attributes.flags;
        // The kernel reports the clamps that are in force even if they were never requested, and a kernel without
        // clamps refuses the flags.
        if attributes.util_min != 0 {
            flags |= SCHED_FLAG_UTIL_CLAMP_MIN;
        }
        if attributes.util_max != 0 && attributes.util_max != FULL {
            flags |= SCHED_FLAG_UTIL_CLAMP_MAX;
        }
        let clamped = flags & (SCHED_FLAG_UTIL_CLAMP_MIN | SCHED_FLAG_UTIL_CLAMP_MAX) != 0;
        let size: u32 = if clamped { 56 } else { 48 };
        let mut bytes = Vec::with_capacity(size as usize);
        bytes.extend(size.to_ne_bytes());
        bytes.extend(attributes.policy.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        let nice = if self.is_ordinary() {
            attributes.nice
        } else {
            0
        };
        bytes.extend(nice.to_ne_bytes());
        bytes.extend(attributes.priority.to_ne_bytes());
        bytes.extend(own(attributes.runtime).to_ne_bytes());
        bytes.extend(own(attributes.deadline).to_ne_bytes());
        bytes.extend(own(attributes.period).to_ne_bytes());
        if clamped {
            bytes.extend(attributes.util_min.to_ne_bytes());
            bytes.extend(attributes.util_max.to_ne_bytes());
        }
        Data::new(bytes)
    }
}
