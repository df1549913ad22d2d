// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Segments of a thread in the global descriptor table (`set_thread_area(2)`), which 64-bit programs have only if they
//! request them like 32-bit programs.
//!
//! The tracer reads and sets them. Segments of the local descriptor table (`modify_ldt(2)`) are visible only to the
//! process itself: a thread that uses one is refused (`registers`).

use crust_model::object::State;
use crust_model::plan::{Operation, Stage, TaskHandle, TaskId};
use crust_model::{Error, Result};
use crust_sys::ptrace::{self, SEGMENTS, Segment};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// The segments that are in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segments(Vec<Segment>);

impl State for Segments {
    const TAG: u16 = 0x0129;
    const NAME: &'static str = "segments";
    const SUPPORT: &'static str = "those of set_thread_area, of each thread";

    fn describe(&self) -> String {
        let words: Vec<_> = self
            .0
            .iter()
            .map(|[number, base, limit, _]| format!("{number}: {limit:#x} from {base:#x}"))
            .collect();
        words.join(", ")
    }
}

/// Returns whether a segment is what the kernel reports for an unused entry: not present, and not writable.
fn is_empty([_, base, limit, flags]: &Segment) -> bool {
    const EMPTY: u32 = 1 << 3 | 1 << 5;
    (*base, *limit, *flags) == (0, 0, EMPTY)
}

impl Kind for Segments {
    type Source = OfThread;
}

impl ThreadAspect for Segments {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let tid = view.thread.tid;
        let mut segments = Vec::new();
        for number in SEGMENTS {
            match ptrace::segment(tid, number) {
                Ok(segment) if is_empty(&segment) => {}
                Ok(segment) => segments.push(segment),
                // The kernel does not support 32-bit programs.
                Err(Errno::EIO | Errno::EINVAL) => return Ok(None),
                Err(errno) => return Err(Error::task(tid, "read its segments", errno)),
            }
        }
        Ok((!segments.is_empty()).then_some(Self(segments)))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        for segment in &self.0 {
            cx.plan.operate(Stage::Resume, task, SetSegment(*segment));
        }
        Ok(())
    }
}

/// Sets a segment of the thread in the global descriptor table.
#[derive(Debug)]
struct SetSegment(Segment);

impl Operation for SetSegment {
    fn describe(&self) -> String {
        format!("set segment {}", self.0[0])
    }

    fn run(&self, task: &mut dyn TaskHandle) -> Result<()> {
        ptrace::set_segment(task.tid(), self.0)
            .map_err(|errno| Error::task(task.tid(), "set a segment", errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_task::ScriptedTask;

    /// The thread of a test is not traced, which is `ESRCH`.
    #[test]
    fn a_thread_that_is_gone_is_an_error() {
        let mut task = ScriptedTask::new([]);
        let error = SetSegment([12, 0, 0, 0]).run(&mut task).unwrap_err();
        assert!(matches!(error, Error::Gone { .. }), "{error:?}");
        assert!(error.to_string().contains("set a segment"), "{error}");
    }
}
