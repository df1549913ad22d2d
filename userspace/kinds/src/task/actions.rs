// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The signal actions of a process (`rt_sigaction(2)`).

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Call, Data, ProcessId, Stage};
use crust_sys::{signal, uapi};
use serde::{Deserialize, Serialize};

use super::{ProcessAspect, ProcessView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfProcess;

const SIG_IGN: u64 = libc::SIG_IGN as u64;
/// Children that exit leave no zombies (`SA_NOCLDWAIT`).
const NO_ZOMBIES: u64 = 2;

/// The action of one signal, as the kernel keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Action {
    handler: u64,
    flags: u64,
    restorer: u64,
    mask: u64,
}

/// The actions that are not the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions {
    actions: Vec<(i32, Action)>,
    /// Whether the process has children that have exited and that it has not waited for.
    has_zombies: bool,
}

impl State for Actions {
    const TAG: u16 = 0x0103;
    const NAME: &'static str = "signal actions";
    const SUPPORT: &'static str = "handler, flags, restorer and mask of all signals";

    fn describe(&self) -> String {
        let count = |ignored: bool| {
            let is = |action: &Action| (action.handler == SIG_IGN) == ignored;
            self.actions.iter().filter(|(_, action)| is(action)).count()
        };
        format!("{} handled, {} ignored", count(false), count(true))
    }
}

impl Actions {
    /// Returns whether a signal has its default action.
    pub(super) fn is_default(&self, signal: i32) -> bool {
        let own = |(number, action): &(i32, Action)| {
            *number == signal && action.handler != libc::SIG_DFL as u64
        };
        !self.actions.iter().any(own)
    }
}

/// Returns whether the action of a signal cannot be changed.
fn fixed(signal: i32) -> bool {
    signal == libc::SIGKILL || signal == libc::SIGSTOP
}

impl Kind for Actions {
    type Source = OfProcess;
}

impl ProcessAspect for Actions {
    fn capture(view: &ProcessView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        let actions = capture
            .hooks
            .signal_actions(view.process)?
            .into_iter()
            .zip(1..)
            .map(|(action, signal)| {
                let uapi::Sigaction {
                    handler,
                    flags,
                    restorer,
                    mask,
                } = action;
                (
                    signal,
                    Action {
                        handler,
                        flags,
                        restorer,
                        mask,
                    },
                )
            })
            .filter(|(signal, action)| !fixed(*signal) && *action != Action::default())
            .collect();
        let has_zombies = view.process.has_zombies;
        Ok(Some(Self {
            actions,
            has_zombies,
        }))
    }

    fn plan(&self, process: ProcessId, cx: &mut PlanCx<'_>) -> Result<()> {
        // The blank has the default action for all others.
        for &(signal, action) in &self.actions {
            let words = [action.handler, action.flags, action.restorer, action.mask];
            let args = [
                signal.into(),
                Data::words(&words).into(),
                0.into(),
                signal::SET_SIZE.into(),
            ];
            let call = Call::new(
                format!("action of signal {signal}"),
                libc::SYS_rt_sigaction,
                args,
            );
            // With such an action the kernel would not keep the zombies that are yet to be created.
            let reaps = action.handler == SIG_IGN || action.flags & NO_ZOMBIES != 0;
            let stage = if signal == libc::SIGCHLD && self.has_zombies && reaps {
                Stage::Resume
            } else {
                Stage::Attributes
            };
            let task = match stage {
                Stage::Resume => cx.survivor(process),
                _ => process.leader(),
            };
            cx.plan.call(stage, task, call);
        }
        Ok(())
    }
}
