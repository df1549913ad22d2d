// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The execution domain (`personality(2)`).

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Call, Stage, TaskId};
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// The execution domain of a thread and its flags.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Personality {
    flags: u32,
}

impl State for Personality {
    const TAG: u16 = 0x010B;
    const NAME: &'static str = "personality";
    const SUPPORT: &'static str = "domain and flags (`ADDR_NO_RANDOMIZE` ...), of each thread";

    fn describe(&self) -> String {
        format!("{:#x}", self.flags)
    }
}

impl Kind for Personality {
    type Source = OfThread;
}

impl ThreadAspect for Personality {
    fn capture(view: &ThreadView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        let flags = match capture.hooks.personality(view.process, view.thread)? {
            Some(flags) => flags,
            None => view.text.personality(view.process, view.thread)?,
        };
        Ok(Some(Self { flags }))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        // Long after memory: READ_IMPLIES_EXEC would change the protection of every mapping.
        let args = [u64::from(self.flags).into()];
        let call = Call::new("personality", libc::SYS_personality, args);
        cx.plan.call(Stage::Attributes, task, call);
        Ok(())
    }
}
