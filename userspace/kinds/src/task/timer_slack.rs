// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The timer slack of a thread: how late its sleeps may end (`PR_SET_TIMERSLACK`).
//!
//! The default, to which `prctl(PR_SET_TIMERSLACK, 0)` returns, is the current slack that the thread's creator had when
//! it created the thread (kernel/fork.c:copy_process). So the plan temporarily gives the creator that slack: see
//! `tree`.

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Call, Stage, TaskId};
use crust_model::refusal::USE_THE_MODULE;
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// The timer slack of a task if it was never changed.
pub(super) const USUAL: u64 = 50_000;

/// The timer slack of a thread in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slack {
    current: u64,
    /// The value that `PR_SET_TIMERSLACK` with 0 sets.
    pub(super) default: u64,
}

impl State for Slack {
    const TAG: u16 = 0x0117;
    const NAME: &'static str = "timer slack";
    const SUPPORT: &'static str =
        "the current one, and with the module the default, of each thread";

    fn describe(&self) -> String {
        format!("{} ns, default {} ns", self.current, self.default)
    }
}

/// Returns the call that sets the slack; 0 would set the default instead of zero.
pub(super) fn set(slack: u64) -> Call {
    let args = [libc::PR_SET_TIMERSLACK.into(), slack.into()];
    Call::new("timer slack", libc::SYS_prctl, args)
}

impl Kind for Slack {
    type Source = OfThread;
}

impl ThreadAspect for Slack {
    fn capture(view: &ThreadView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        let kernel = &view.kernel;
        let known = capture.hooks.features().read_only;
        if !known && kernel.timer_slack != USUAL && kernel.timer_slack != 0 {
            capture.refusals.lose(
                view.thread.tid,
                "timer-slack",
                "timer slack",
                "this kernel does not tell the default, to which PR_SET_TIMERSLACK returns: it becomes 50 us",
                USE_THE_MODULE,
            );
        }
        let default = if known {
            kernel.default_timer_slack
        } else {
            USUAL
        };
        // Threads with a real-time policy have none (kernel/sys.c:prctl).
        let current = kernel.timer_slack;
        Ok(((current, default) != (USUAL, USUAL) && current != 0)
            .then_some(Self { current, default }))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        cx.plan.call(Stage::Attributes, task, set(self.current));
        Ok(())
    }
}
