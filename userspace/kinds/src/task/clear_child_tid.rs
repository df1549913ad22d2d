// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The word that the kernel clears when a thread ends (`set_tid_address(2)`): `pthread_join` waits
//! for it.

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Call, Stage, TaskId};
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// The address of that word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClearChildTid {
    address: u64,
}

impl State for ClearChildTid {
    const TAG: u16 = 0x0112;
    const NAME: &'static str = "clear_child_tid";
    const SUPPORT: &'static str = "the address, of each thread: joining a restored thread works";

    fn describe(&self) -> String {
        format!("{:#x}", self.address)
    }
}

impl Kind for ClearChildTid {
    type Source = OfThread;
}

impl ThreadAspect for ClearChildTid {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let address = view.kernel.clear_child_tid;
        Ok((address != 0).then_some(Self { address }))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        let args = [self.address.into()];
        let call = Call::new("clear_child_tid", libc::SYS_set_tid_address, args);
        cx.plan.call(Stage::Attributes, task, call);
        Ok(())
    }
}
