// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Per-thread switches of `prctl(2)`: memory errors, I/O flushing, speculation.

use std::sync::OnceLock;

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Call, Stage, TaskId};
use crust_proc::Fields;
use crust_sys::word;
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

// Bits of field 9 of `/proc/PID/stat` (include/linux/sched.h), the same since Linux 5.6.
const PF_MCE_PROCESS: u64 = 0x80;
const PF_MCE_EARLY: u64 = 0x0800_0000;
const PF_IO_FLUSHER: u64 = 0x0008_0000 | 0x0010_0000;
const PR_MCE_KILL: i32 = libc::PR_MCE_KILL;
const PR_MCE_KILL_SET: u64 = libc::PR_MCE_KILL_SET as u64;
const PR_SET_IO_FLUSHER: i32 = word::to_int(linux_raw_sys::prctl::PR_SET_IO_FLUSHER as u64);
const PR_SET_SPECULATION_CTRL: i32 = libc::PR_SET_SPECULATION_CTRL;
const PR_SPEC_DISABLE: u64 = libc::PR_SPEC_DISABLE as u64;
const PR_SPEC_FORCE_DISABLE: u64 = libc::PR_SPEC_FORCE_DISABLE as u64;
const PR_SPEC_DISABLE_NOEXEC: u64 = libc::PR_SPEC_DISABLE_NOEXEC as u64;
/// The fields of `/proc/PID/status`, and the numbers of the same features for `prctl`.
const SPECULATION: [(&str, u64); 2] = [
    ("Speculation_Store_Bypass", 0),
    ("SpeculationIndirectBranch", 1),
];

/// The switches that differ from the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flags {
    /// `PR_MCE_KILL`: whether memory errors are reported early.
    memory_errors_early: Option<bool>,
    /// `PR_SET_IO_FLUSHER`.
    io_flusher: bool,
    /// `PR_SET_SPECULATION_CTRL`: features and their settings.
    speculation: Vec<(u64, u64)>,
}

impl State for Flags {
    const TAG: u16 = 0x0114;
    const NAME: &'static str = "switches";
    const SUPPORT: &'static str = "memory error policy, I/O flusher, speculation, of each thread";

    fn describe(&self) -> String {
        format!("{self:?}")
    }
}

/// Returns the setting that a field reports, if it is not the default.
fn speculation(theirs: &str, own: Option<&str>) -> Option<u64> {
    match theirs {
        "thread mitigated" | "conditional disabled" => Some(PR_SPEC_DISABLE),
        "thread force mitigated" | "conditional force disabled" => Some(PR_SPEC_FORCE_DISABLE),
        // There is no word for a setting that ends with an exec (fs/proc/array.c:task_seccomp): this word is for a
        // machine where the setting cannot be chosen, but crust's own status shows that it can.
        "vulnerable" if own.is_some_and(|own| own.starts_with("thread ")) => {
            Some(PR_SPEC_DISABLE_NOEXEC)
        }
        _ => None,
    }
}

/// Returns the `/proc/self/status` of crust.
fn status_of_crust() -> &'static Fields {
    static OWN: OnceLock<Fields> = OnceLock::new();
    OWN.get_or_init(|| {
        Fields::new(std::fs::read_to_string("/proc/self/status").unwrap_or_default())
    })
}

impl Kind for Flags {
    type Source = OfThread;
}

impl ThreadAspect for Flags {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let bits = view.text.stat.field(9);
        let own = bits & PF_MCE_PROCESS != 0;
        let speculation: Vec<_> = SPECULATION
            .iter()
            .filter_map(|(field, feature)| {
                let setting =
                    speculation(view.text.status.get(field)?, status_of_crust().get(field))?;
                Some((*feature, setting))
            })
            .collect();
        let flags = Self {
            memory_errors_early: own.then_some(bits & PF_MCE_EARLY != 0),
            io_flusher: bits & PF_IO_FLUSHER == PF_IO_FLUSHER,
            speculation,
        };
        let usual = flags.memory_errors_early.is_none()
            && !flags.io_flusher
            && flags.speculation.is_empty();
        Ok((!usual).then_some(flags))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        let mut prctl = |what: &str, option: i32, args: [u64; 2]| {
            let args = [
                option.into(),
                args[0].into(),
                args[1].into(),
                0.into(),
                0.into(),
            ];
            cx.plan.call(
                Stage::Attributes,
                task,
                Call::new(what, libc::SYS_prctl, args),
            );
        };
        if let Some(early) = self.memory_errors_early {
            prctl(
                "memory errors",
                PR_MCE_KILL,
                [PR_MCE_KILL_SET, u64::from(early)],
            );
        }
        if self.io_flusher {
            prctl("I/O flusher", PR_SET_IO_FLUSHER, [1, 0]);
        }
        for (feature, setting) in &self.speculation {
            prctl("speculation", PR_SET_SPECULATION_CTRL, [*feature, *setting]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_speculation() {
        let thread = Some("thread vulnerable");
        assert_eq!(speculation("thread vulnerable", thread), None);
        assert_eq!(
            speculation("thread mitigated", thread),
            Some(PR_SPEC_DISABLE)
        );
        assert_eq!(
            speculation("vulnerable", thread),
            Some(PR_SPEC_DISABLE_NOEXEC)
        );
        assert_eq!(speculation("vulnerable", Some("vulnerable")), None);
        assert_eq!(speculation("always enabled", None), None);
    }
}
