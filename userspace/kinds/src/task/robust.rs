// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The list of robust futexes that a thread holds (`get_robust_list(2)`).

use crust_model::object::State;
use crust_model::plan::{Call, Stage, TaskId};
use crust_model::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// The location of the list. Its entries are in the memory of the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RobustList {
    head: u64,
    length: u64,
}

impl State for RobustList {
    const TAG: u16 = 0x0110;
    const NAME: &'static str = "robust futex list";
    const SUPPORT: &'static str =
        "the address, of each thread: the next owner hears of a holder's death";

    fn describe(&self) -> String {
        format!("{:#x}", self.head)
    }
}

impl Kind for RobustList {
    type Source = OfThread;
}

impl ThreadAspect for RobustList {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let tid = view.thread.tid;
        let (head, length) = crust_sys::task::robust_list(tid)
            .map_err(|errno| Error::task(tid, "get_robust_list", errno))?;
        Ok((head.0 != 0).then_some(Self {
            head: head.0,
            length,
        }))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        let args = [self.head.into(), self.length.into()];
        let call = Call::new("robust futex list", libc::SYS_set_robust_list, args);
        // Set the list late: if a half-restored thread died with it, its futexes, also those in shared memory, would be
        // marked as orphaned.
        cx.plan.call(Stage::Credentials, task, call);
        Ok(())
    }
}
