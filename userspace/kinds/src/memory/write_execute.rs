// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `PR_SET_MDWE`: the promise that no memory will be made executable that was not executable from the beginning, and
//! that none will be both writable and executable.
//!
//! The kernel tells it only to the program itself, and in no other way: the module does not know of
//! it.

use crust_hooks::Hooks;
use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Call, Stage};
use crust_proc::smaps::Vma;
use serde::{Deserialize, Serialize};

use super::MemoryCapture;
use super::aspect::{Moment, SpaceAspect};
use super::layout::Layout;
use crate::kind::Kind;
use crate::memory::aspect::OfSpace;

/// The setting of `PR_SET_MDWE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteExecute {
    /// The argument of `PR_SET_MDWE`.
    pub bits: u64,
}

impl State for WriteExecute {
    const TAG: u16 = 0x0204;
    const NAME: &'static str = "memory-deny-write-execute";
    const SUPPORT: &'static str =
        "`PR_SET_MDWE`, on a stock kernel; the module does not tell of it";

    fn describe(&self) -> String {
        format!("bits {:#x}", self.bits)
    }
}

impl Kind for WriteExecute {
    type Source = OfSpace;
}

impl SpaceAspect for WriteExecute {
    fn capture(
        _: &[Vma],
        found: &mut MemoryCapture<'_>,
        hooks: &dyn Hooks,
    ) -> Result<Option<Self>> {
        let process = found.process;
        match hooks.self_only_memory(process)?.write_execute {
            Some(0) => return Ok(None),
            Some(bits) => return Ok(Some(Self { bits })),
            None => {}
        }
        // Whoever sets it wants to restrict a program, and so sets no_new_privs too (systemd: MemoryDenyWriteExecute=).
        let status =
            crust_proc::Fields::new(crust_proc::read_text(&process.proc, process.pid, "status")?);
        if status.number("NoNewPrivs") == Some(1) {
            found.refusals.lose(
                process.pid,
                "deny-write-execute",
                "memory-deny-write-execute",
                "the module does not tell whether it was set (PR_SET_MDWE): it will not be",
                "have the program set it again after the restore if it needs that",
            );
        }
        Ok(None)
    }

    fn plan(&self, moment: Moment, layout: &mut Layout<'_>) {
        if moment == Moment::Filled {
            let args = [
                libc::PR_SET_MDWE.into(),
                self.bits.into(),
                0.into(),
                0.into(),
                0.into(),
            ];
            let call = Call::new("memory-deny-write-execute", libc::SYS_prctl, args);
            layout.call(Stage::SealMemory, call);
        }
    }
}
