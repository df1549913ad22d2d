// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Restartable sequences (`rseq(2)`).
//!
//! The rseq area is memory of the program; the kernel only knows its address. Registering it clears the pointer to the
//! sequence that is being executed (kernel/rseq.c), so that pointer is written back last, when the thread no longer
//! passes through user mode before its own registers are set: the kernel then aborts the sequence, as on any
//! preemption.

use crust_model::object::State;
use crust_model::plan::{Call, Stage, Step, TaskId};
use crust_model::{Error, Result};
use crust_sys::RemoteAddr;
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// The offset of `rseq_cs` in `struct rseq`; the flags follow it.
const RSEQ_CS: u64 = 8;
/// The flags that the kernel sets where time slices are extended (`RSEQ_CS_FLAG_SLICE_EXT_AVAILABLE` and
/// `_ENABLED`).
const SLICE_EXTENSION: u32 = 1 << 4 | 1 << 5;
const PR_RSEQ_SLICE_EXTENSION: u64 = 79;
const PR_RSEQ_SLICE_EXTENSION_SET: u64 = 2;
const PR_RSEQ_SLICE_EXT_ENABLE: u64 = 1;

/// The rseq registration of a thread.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rseq {
    address: RemoteAddr,
    length: u32,
    signature: u32,
    /// The sequence that is being executed (`rseq_cs`), or 0.
    sequence: u64,
    slice_extension: bool,
}

impl State for Rseq {
    const TAG: u16 = 0x0111;
    const NAME: &'static str = "rseq";
    const SUPPORT: &'static str =
        "the registration and the sequence under way, of each thread; time slice extension";

    fn describe(&self) -> String {
        format!("{} bytes at {}", self.length, self.address)
    }
}

impl Kind for Rseq {
    type Source = OfThread;
}

impl ThreadAspect for Rseq {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let tid = view.thread.tid;
        let rseq = crust_sys::ptrace::rseq(tid)
            .map_err(|errno| Error::task(tid, "read the rseq registration", errno))?;
        if rseq.address == RemoteAddr(0) {
            return Ok(None);
        }
        let mut bytes = [0; 12];
        crust_sys::memory::read(tid, rseq.address.offset(RSEQ_CS), &mut bytes).map_err(
            |errno| {
                Error::task(
                    tid,
                    format!("read the rseq area at {}", rseq.address),
                    errno,
                )
            },
        )?;
        let [sequence @ .., a, b, c, d] = bytes;
        let flags = [a, b, c, d];
        Ok(Some(Self {
            address: rseq.address,
            length: rseq.length,
            signature: rseq.signature,
            sequence: u64::from_ne_bytes(sequence),
            slice_extension: u32::from_ne_bytes(flags) & SLICE_EXTENSION == SLICE_EXTENSION,
        }))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        let args = [
            self.address.into(),
            u64::from(self.length).into(),
            0.into(),
            u64::from(self.signature).into(),
        ];
        let call = Call::new("rseq: register", libc::SYS_rseq, args);
        cx.plan.call(Stage::Attributes, task, call);
        if self.slice_extension {
            let args = [
                PR_RSEQ_SLICE_EXTENSION.into(),
                PR_RSEQ_SLICE_EXTENSION_SET.into(),
                PR_RSEQ_SLICE_EXT_ENABLE.into(),
                0.into(),
                0.into(),
            ];
            let call = Call::new("rseq: time slice extension", libc::SYS_prctl, args);
            cx.plan.call(Stage::Attributes, task, call);
        }
        if self.sequence != 0 {
            let write = Step::Write {
                label: "rseq: the sequence under way".into(),
                address: self.address.offset(RSEQ_CS),
                bytes: self.sequence.to_ne_bytes().into(),
            };
            cx.plan.step(Stage::Resume, task, write);
        }
        Ok(())
    }
}
