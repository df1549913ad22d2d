// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The alternate signal stack (`sigaltstack(2)`).

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Call, Data, Stage, TaskId};
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// The stack that handlers with `SA_ONSTACK` run on.
///
/// The kernel decides by the stack pointer whether a thread is on it, so a thread that was dumped
/// within such a handler returns from it as it would have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AltStack {
    address: u64,
    size: u64,
    flags: u32,
}

impl State for AltStack {
    const TAG: u16 = 0x0106;
    const NAME: &'static str = "alternate signal stack";
    const SUPPORT: &'static str = "address, size and flags, of each thread";

    fn describe(&self) -> String {
        let Self {
            address,
            size,
            flags,
        } = self;
        format!("{size} bytes at {address:#x}, flags {flags:#x}")
    }
}

impl Kind for AltStack {
    type Source = OfThread;
}

impl ThreadAspect for AltStack {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let kernel = &view.kernel;
        let off = kernel.sas_size == 0 || kernel.sas_flags & libc::SS_DISABLE as u32 != 0;
        Ok((!off).then_some(Self {
            address: kernel.sas_sp,
            size: kernel.sas_size,
            // A mainline kernel reports SS_ONSTACK while the thread is on the stack. That is not a setting, and has no
            // effect when it is set.
            flags: kernel.sas_flags & !(libc::SS_ONSTACK as u32),
        }))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        // stack_t: pointer, int and padding, size.
        let stack = [self.address, u64::from(self.flags), self.size];
        let args = [Data::words(&stack).into(), 0.into()];
        let call = Call::new("alternate signal stack", libc::SYS_sigaltstack, args);
        cx.plan.call(Stage::Attributes, task, call);
        Ok(())
    }
}
