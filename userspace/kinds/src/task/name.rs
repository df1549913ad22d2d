// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The name of a thread (`comm`).

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Call, Data, Stage, TaskId};
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// The name of a thread: up to 15 bytes, any except zero.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    bytes: Vec<u8>,
}

impl Name {
    /// Creates a name, also for a thread that has exited.
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }
}

impl State for Name {
    const TAG: u16 = 0x010A;
    const NAME: &'static str = "name";
    const SUPPORT: &'static str = "of each thread (`comm`)";

    fn describe(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Kind for Name {
    type Source = OfThread;
}

impl ThreadAspect for Name {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let bytes = view.text.stat.comm.clone();
        Ok(Some(Self { bytes }))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        let name = Data::string(&self.bytes);
        let args = [libc::PR_SET_NAME.into(), name.into()];
        let call = Call::new("name", libc::SYS_prctl, args);
        cx.plan.call(Stage::Attributes, task, call);
        Ok(())
    }
}
