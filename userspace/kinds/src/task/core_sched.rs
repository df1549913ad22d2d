// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Core scheduling (`PR_SCHED_CORE`): a thread may share a processor core only with threads that have the same cookie.
//!
//! The kernel reports a number that stands for the cookie and is meaningless after a restore. The first thread that has
//! a cookie creates a new one, and the others with the same cookie take it from that thread. Which tasks outside the
//! tree had it too is not known.

use std::collections::BTreeMap;

use crust_model::object::State;
use crust_model::plan::{Call, ProcessId, Stage, TaskId};
use crust_model::{Error, Result};
use crust_sys::task;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView, tree};
use crate::capture::Capture;
use crate::plan_context::PlanCx;

const PR_SCHED_CORE: u64 = 62;
const CREATE: u64 = 1;
const SHARE_FROM: u64 = 3;
/// `PR_SCHED_CORE_SCOPE_THREAD`
const THREAD: u64 = 0;

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

impl ThreadAspect for Core {
    fn capture(view: &ThreadView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        let tid = view.thread.tid;
        match task::core_cookie(tid) {
            Ok(0) => Ok(None),
            Ok(cookie) => {
                if task::core_cookie(0) == Ok(cookie) {
                    capture.refusals.lose(
                        tid,
                        "core scheduling",
                        "it shares cores with crust, and with whoever else has its cookie; after a restore only \
                         with the threads of its own tree",
                        "",
                    );
                }
                Ok(Some(Self(cookie)))
            }
            // The kernel does not support it, or no core has two hardware threads.
            Err(Errno::ENODEV | Errno::EINVAL) => Ok(None),
            Err(errno) => Err(Error::task(tid, "read its core scheduling cookie", errno)),
        }
    }

    /// Does nothing: see [`plan`].
    fn plan(&self, _: TaskId, _: &mut PlanCx<'_>) -> Result<()> {
        Ok(())
    }
}

/// Plans the cookies of all threads: the first thread with a cookie creates it, then the others take it.
///
/// # Errors
///
/// If the image is inconsistent.
pub fn plan(cx: &mut PlanCx<'_>) -> Result<()> {
    let mut holders: BTreeMap<u64, Vec<TaskId>> = BTreeMap::new();
    for record in cx.of_tag(Core::TAG) {
        let task = TaskId {
            process: ProcessId(record.owner),
            thread: record.part,
        };
        let cookie = Core::from_record(record)?.0;
        holders.entry(cookie).or_default().push(task);
    }
    if holders.is_empty() {
        return Ok(());
    }
    let members = tree::members(cx.records)?;
    for tasks in holders.into_values() {
        let first = tasks[0];
        let tid = members
            .get(first.process.0 as usize)
            .and_then(|member| member.threads.get(first.thread as usize))
            .ok_or_else(|| Error::malformed(Core::NAME, "of a thread that there is not"))?;
        let args = |what, tid: u64| [PR_SCHED_CORE, what, tid, THREAD, 0].map(Into::into);
        let call = Call::new(
            "core scheduling: make a cookie",
            libc::SYS_prctl,
            args(CREATE, 0),
        );
        cx.plan.call(Stage::Attributes, first, call);
        for other in &tasks[1..] {
            let what = format!("core scheduling: take the cookie of {tid}");
            let call = Call::new(what, libc::SYS_prctl, args(SHARE_FROM, *tid as u64));
            cx.plan.call(Stage::Credentials, *other, call);
        }
    }
    Ok(())
}
