// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The shadow stack features of a thread: whether it may write to shadow stacks (`WRSS`), and which features it can no
//! longer switch on or off (`ARCH_SHSTK_LOCK`). The shadow stacks themselves are [memory](crate::memory::shadow_stack).

use crust_arch::ARCH_SHSTK_ENABLE;
use crust_model::Result;
use crust_model::object::{State, decode, other_version};
use crust_model::plan::{Call, Stage, TaskId};
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

const ARCH_SHSTK_LOCK: u64 = 0x5003;
const WRSS: u64 = 1 << 1;
/// The names of the features in `/proc/PID/status`, and their bits.
const FEATURES: [(&str, u64); 2] = [("shstk", 1 << 0), ("wrss", WRSS)];

/// The features beyond a shadow stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features {
    /// Whether the thread may write to shadow stacks.
    writes: bool,
    /// The features that can no longer be changed.
    locked: u64,
}

impl State for Features {
    const TAG: u16 = 0x011d;
    const VERSION: u16 = 2;
    const NAME: &'static str = "shadow stack features";
    const SUPPORT: &'static str =
        "writing to shadow stacks (WRSS), and what ARCH_SHSTK_LOCK has locked, of each thread";

    fn describe(&self) -> String {
        let writes = if self.writes { "wrss, " } else { "" };
        format!("{writes}locked {:#x}", self.locked)
    }

    fn upgrade(version: u16, body: &[u8]) -> Result<Self> {
        match version {
            // Threads that used a shadow stack were refused.
            1 => Ok(Self {
                writes: false,
                locked: decode(Self::NAME, body)?,
            }),
            _ => Err(other_version::<Self>(version)),
        }
    }
}

/// Returns the bits of the features named in such a field.
fn features(words: &str) -> u64 {
    let known = FEATURES
        .iter()
        .filter(|(word, _)| words.split_ascii_whitespace().any(|one| one == *word));
    known.fold(0, |all, (_, bit)| all | bit)
}

impl Kind for Features {
    type Source = OfThread;
}

impl ThreadAspect for Features {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let field = |name| view.text.status.get(name).map_or(0, features);
        let this = Self {
            writes: field("x86_Thread_features") & WRSS != 0,
            locked: field("x86_Thread_features_locked"),
        };
        Ok((this.writes || this.locked != 0).then_some(this))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        let mut call = |what, operation: u64, features: u64| {
            let call = Call::new(
                what,
                libc::SYS_arch_prctl,
                [operation.into(), features.into()],
            );
            cx.plan.call(Stage::Attributes, task, call);
        };
        if self.writes {
            call("shadow stack: allow writing", ARCH_SHSTK_ENABLE, WRSS);
        }
        if self.locked != 0 {
            call("shadow stack: lock", ARCH_SHSTK_LOCK, self.locked);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_features() {
        assert_eq!(features(""), 0);
        assert_eq!(features("shstk wrss "), 3);
        assert_eq!(features("wrss shstk2"), 2);
    }
}
