// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Core scheduling (`PR_SCHED_CORE`): a thread may share a processor core only with threads that have the same cookie.
//!
//! The kernel reports a number that stands for the cookie and is meaningless after a restore. The first thread that has
//! a cookie creates a new one, and the others with the same cookie take it from that thread. Which tasks outside the
//! tree had it too is not known.

use std::collections::BTreeMap;

use crust_model::object::State;
use crust_model::plan::{Call, Stage, TaskId};
use crust_model::{Error, Result};
use crust_sys::{task, word};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView, tree};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

const PR_SCHED_CORE: u64 = libc::PR_SCHED_CORE as u64;
const CREATE: u64 = libc::PR_SCHED_CORE_CREATE as u64;
const SHARE_FROM: u64 = libc::PR_SCHED_CORE_SHARE_FROM as u64;
/// `PR_SCHED_CORE_SCOPE_THREAD`
const THREAD: u64 = libc::PR_SCHED_CORE_SCOPE_THREAD as u64;

/// The cookie of a thread that has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Core(u64);

impl State for Core {
    const TAG: u16 = 0x012a;
    const NAME: &'static str = "core scheduling";
    const SUPPORT: &'static str = "which threads of the tree have the same cookie";

    fn describe(&self) -> String {
        format!("cookie {:#x}", self.0)
    }
}

impl Kind for Core {
    type Source = OfThread;
}

impl ThreadAspect for Core {
    fn capture(view: &ThreadView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        let tid = view.thread.tid;
        match task::core_cookie(tid) {
            Ok(0) => Ok(None),
            Ok(cookie) => {
                if task::core_cookie(0) == Ok(cookie) {
                    capture.refusals.lose(
                        tid,
                        "core-scheduling",
                        "core scheduling",
                        "it shares cores with crust and others that have its cookie; after a restore it shares them \
                         only with the threads of its own tree",
                        "give it the cookie of the others after the restore (PR_SCHED_CORE)",
                    );
                }
                Ok(Some(Self(cookie)))
            }
            // The kernel does not support it, or no core has two hardware threads.
            Err(Errno::ENODEV | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(Error::task(tid, "read its core scheduling cookie", errno)),
        }
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        let args = |what, tid: u64| [PR_SCHED_CORE, what, tid, THREAD, 0].map(Into::into);
        if let Some(tid) = cx.notes.of::<Makers>().0.get(&self.0) {
            let what = format!("core scheduling: take the cookie of {tid}");
            let args = args(SHARE_FROM, word::from_int(*tid));
            let call = Call::new(what, libc::SYS_prctl, args);
            // The next stage that waits for all tasks: by then it is made.
            cx.plan.call(Stage::Watches, task, call);
            return Ok(());
        }
        let tid = match tree::number(cx.image, task) {
            0 => {
                return Err(Error::malformed(
                    Core::NAME,
                    "of a thread that there is not",
                ));
            }
            tid => tid,
        };
        cx.notes.of::<Makers>().0.insert(self.0, tid);
        let call = Call::new(
            "core scheduling: make a cookie",
            libc::SYS_prctl,
            args(CREATE, 0),
        );
        cx.plan.call(Stage::Attributes, task, call);
        Ok(())
    }
}

/// The thread that makes each cookie: the first that had it.
#[derive(Default)]
struct Makers(BTreeMap<u64, i32>);
