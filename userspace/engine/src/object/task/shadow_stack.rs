// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Shadow stacks (x86 CET): a thread that uses one is refused, and what a thread may not switch on or off
//! any more (`ARCH_SHSTK_LOCK`) is kept.

use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::Result;
use crate::capture::Capture;
use crate::object::State;
use crate::plan::{Call, Stage, TaskId};
use crate::resolve::Resolve;

const ARCH_SHSTK_LOCK: u64 = 0x5003;
/// The words for features in `/proc/PID/status`, and their bits.
const FEATURES: [(&str, u64); 2] = [("shstk", 1 << 0), ("wrss", 1 << 1)];

/// The features that cannot be changed any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Locked(u64);

impl State for Locked {
    const TAG: u16 = 0x011d;
    const NAME: &'static str = "shadow stack lock";
    const SUPPORT: &'static str = "features that ARCH_SHSTK_LOCK has locked, of each thread. Shadow \
                                   stacks themselves are refused";

    fn describe(&self) -> String {
        format!("features {:#x}", self.0)
    }
}

/// The bits of the features in such a field.
fn features(words: &str) -> u64 {
    let known = FEATURES
        .iter()
        .filter(|(word, _)| words.split_ascii_whitespace().any(|one| one == *word));
    known.fold(0, |all, (_, bit)| all | bit)
}

impl ThreadAspect for Locked {
    fn capture(view: &ThreadView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        let field = |name| view.text.status.get(name).map_or(0, features);
        let tid = view.thread.tid;
        if field("x86_Thread_features") != 0 {
            capture.refusals.block(
                tid,
                format!("thread {tid}"),
                "it has a shadow stack, which crust does not restore yet",
                "start it with GLIBC_TUNABLES=glibc.cpu.x86_shstk=off",
            );
        }
        let locked = field("x86_Thread_features_locked");
        Ok((locked != 0).then_some(Self(locked)))
    }

    fn plan(&self, task: TaskId, resolve: &mut Resolve<'_>) -> Result<()> {
        let args = [ARCH_SHSTK_LOCK.into(), self.0.into()];
        let call = Call::new("shadow stack: lock", libc::SYS_arch_prctl, args);
        resolve.plan.call(Stage::Attributes, task, call);
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
