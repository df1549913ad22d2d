// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Settings that a process made by `prctl(2)`, `membarrier(2)` and files of `/proc/self`.

use std::os::fd::AsFd;

use crust_model::object::{State, decode, other_version};
use crust_model::plan::{Arg, Call, Data, ProcessId, Stage};
use crust_model::{Error, Result};
use crust_sys::pidfd::{self, coredump};
use crust_sys::uapi::process_state;
use serde::{Deserialize, Serialize};

use super::registers::ask_for_tiles;
use super::{ProcessAspect, ProcessView, tree};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfProcess;

// linux/prctl.h of 6.18; libc and linux-raw-sys lack it.
pub(crate) const PR_THP_DISABLE_EXCEPT_ADVISED: u64 = 1 << 1;
/// The value of `PR_GET_DUMPABLE` for core dumps that only root can read.
const ROOT_ONLY: u32 = 2;
/// A user other than root.
const NOBODY: u64 = 65534;

/// The settings of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// `PR_SET_DUMPABLE`; 2 comes from `fs.suid_dumpable`.
    dumpable: u32,
    /// `PR_SET_CHILD_SUBREAPER`.
    pub subreaper: bool,
    /// The arguments of `PR_SET_THP_DISABLE`.
    thp_disable: Option<u64>,
    /// The result of `MEMBARRIER_CMD_GET_REGISTRATIONS`: a bit for each registering command.
    membarrier: u32,
    /// Whether the process may use AMX tiles (`ARCH_REQ_XCOMP_PERM`).
    tiles: bool,
    oom_score_adj: i32,
    coredump_filter: u32,
}

impl State for Settings {
    const TAG: u16 = 0x0113;
    const VERSION: u16 = 4;
    const NAME: &'static str = "settings";
    const SUPPORT: &'static str = "dumpable, child subreaper, THP switch, membarrier registrations, \
                                   permission for AMX, oom_score_adj, coredump_filter";

    fn describe(&self) -> String {
        let mut words = vec![
            format!("oom_score_adj {}", self.oom_score_adj),
            format!("coredump_filter {:#x}", self.coredump_filter),
        ];
        for (is, word) in [
            (self.dumpable == 0, "not dumpable"),
            (self.dumpable == ROOT_ONLY, "dumpable by root"),
            (self.subreaper, "child subreaper"),
            (self.thp_disable.is_some(), "no transparent huge pages"),
            (self.membarrier != 0, "membarrier"),
            (self.tiles, "AMX"),
        ] {
            if is {
                words.push(word.into());
            }
        }
        words.join(", ")
    }

    fn upgrade(version: u16, body: &[u8]) -> Result<Self> {
        let mut settings = match version {
            1 => {
                let old: Settings2<bool> = decode(Self::NAME, body)?;
                old.upgrade()
            }
            2 => {
                let old: Settings2<u32> = decode(Self::NAME, body)?;
                old.upgrade()
            }
            3 => decode(Self::NAME, body)?,
            _ => return Err(other_version::<Self>(version)),
        };
        let bits = settings.membarrier;
        settings.membarrier = MEMBARRIER_STATE
            .iter()
            .filter(|(state, _)| bits & state != 0)
            .fold(0, |commands, (_, command)| commands | command);
        Ok(settings)
    }
}

/// Version 2, which knew nothing of AMX; and version 1, in which a core dump that is root's was none.
#[derive(Deserialize)]
struct Settings2<Dumpable> {
    dumpable: Dumpable,
    subreaper: bool,
    thp_disable: Option<u64>,
    membarrier: u32,
    oom_score_adj: i32,
    coredump_filter: u32,
}

impl<Dumpable: Into<u32>> Settings2<Dumpable> {
    fn upgrade(self) -> Settings {
        Settings {
            dumpable: self.dumpable.into(),
            subreaper: self.subreaper,
            thp_disable: self.thp_disable,
            membarrier: self.membarrier,
            tiles: false,
            oom_score_adj: self.oom_score_adj,
            coredump_filter: self.coredump_filter,
        }
    }
}

/// Up to version 3 the registrations were bits of `mm_struct::membarrier_state` (kernel/sched/membarrier.c): each with
/// that of the command.
const MEMBARRIER_STATE: [(u32, u32); 4] = [
    (1 << 1, 1 << 4), // PRIVATE_EXPEDITED
    (1 << 3, 1 << 2), // GLOBAL_EXPEDITED
    (1 << 5, 1 << 6), // PRIVATE_EXPEDITED_SYNC_CORE
    (1 << 7, 1 << 8), // PRIVATE_EXPEDITED_RSEQ
];

/// Returns the `PR_GET_DUMPABLE` value of the process, from whatever source reports it.
fn dumpable(view: &ProcessView<'_>) -> Result<u32> {
    let process = view.process;
    if let Ok(Some(mask)) = pidfd::coredump_mask(process.pidfd.as_fd()) {
        return Ok(match mask {
            mask if mask & coredump::ROOT != 0 => ROOT_ONLY,
            mask => u32::from(mask & coredump::USER != 0),
        });
    }
    // Before Linux 6.16 only the owner of `/proc/PID` shows it: root, if the process is not dumpable.
    let euid = view
        .status
        .numbers("Uid")
        .and_then(|ids| ids.get(1).copied());
    let owner = crust_proc::stat_of(&process.proc, process.pid, "status")?.st_uid;
    Ok(u32::from(euid == Some(owner)))
}

impl Kind for Settings {
    type Source = OfProcess;
}

impl ProcessAspect for Settings {
    fn capture(view: &ProcessView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        let process = view.process;
        let state = view.kernel.state;
        let bad =
            |name: &str| Error::malformed(format!("/proc/{}/{name}", process.pid), "is no number");
        let thp_disable = if state & process_state::THP_DISABLE_EXCEPT_ADVISED != 0 {
            Some(PR_THP_DISABLE_EXCEPT_ADVISED)
        } else {
            (state & process_state::THP_DISABLE != 0).then_some(0)
        };
        Ok(Some(Self {
            dumpable: dumpable(view)?,
            subreaper: state & process_state::CHILD_SUBREAPER != 0,
            thp_disable,
            membarrier: view.kernel.membarrier,
            tiles: capture.hooks.hidden(process)?.tiles,
            oom_score_adj: view
                .text
                .oom_score_adj
                .trim()
                .parse()
                .map_err(|_| bad("oom_score_adj"))?,
            coredump_filter: u32::from_str_radix(view.text.coredump_filter.trim(), 16)
                .map_err(|_| bad("coredump_filter"))?,
        }))
    }

    fn plan(&self, process: ProcessId, cx: &mut PlanCx<'_>) -> Result<()> {
        let leader = process.leader();
        let mut prctl = |stage, what: &str, option: i32, args: [u64; 2]| {
            let args = [
                option.into(),
                args[0].into(),
                args[1].into(),
                0.into(),
                0.into(),
            ];
            let call = Call::new(what, libc::SYS_prctl, args);
            cx.plan.call(stage, leader, call);
        };
        if self.subreaper {
            prctl(
                Stage::Attributes,
                "child subreaper",
                libc::PR_SET_CHILD_SUBREAPER,
                [1, 0],
            );
        }
        if let Some(flags) = self.thp_disable {
            prctl(
                Stage::SealMemory,
                "no transparent huge pages",
                libc::PR_SET_THP_DISABLE,
                [1, flags],
            );
        }
        if self.tiles {
            let call = ask_for_tiles();
            cx.plan.call(Stage::Attributes, leader, call);
        }
        // A change of credentials in any thread resets it, so set it only when all of them are done.
        let chosen = match self.dumpable {
            ROOT_ONLY if cx.features.dumpable_by_root => None,
            ROOT_ONLY => Some(0),
            chosen => Some(chosen),
        };
        if let Some(chosen) = chosen {
            let args = [libc::PR_SET_DUMPABLE as u64, u64::from(chosen), 0, 0, 0].map(Arg::from);
            let call = Call::new("dumpable", libc::SYS_prctl, args);
            cx.plan.call(Stage::Exit, cx.survivor(process), call);
        } else {
            // No process can request this value, but a change of credentials sets it. The process gets its own
            // credentials afterwards.
            let other = |id: u64| Call::new("dumpable by root", libc::SYS_setfsuid, [id.into()]);
            let calls = [other(NOBODY).may_fail(), other(0).must_return(NOBODY)];
            for call in calls {
                cx.plan.call(Stage::Credentials, leader, call);
            }
        }
        if self.dumpable == ROOT_ONLY && chosen.is_some() {
            let pid = tree::number(cx.image, leader);
            cx.refusals.lose(
                pid,
                "dumpable",
                "dumpable",
                "it was 2 (core dumps are root's), which no process can set; it becomes 0",
                "set it to 2 before the restore, by sysctl fs.suid_dumpable=2",
            );
        }
        for command in (0..u32::BITS)
            .map(|bit| self.membarrier & 1 << bit)
            .filter(|&bit| bit != 0)
        {
            let args = [u64::from(command).into(), 0.into(), 0.into()];
            let call = Call::new("membarrier: register", libc::SYS_membarrier, args);
            // While there is only one thread, registering need not wait for the other processors.
            cx.plan.call(Stage::SealMemory, leader, call);
        }
        for (name, value) in [
            ("oom_score_adj", self.oom_score_adj.to_string()),
            ("coredump_filter", format!("{:#x}", self.coredump_filter)),
        ] {
            let path = Data::string(format!("/proc/self/{name}"));
            let args = [
                libc::AT_FDCWD.into(),
                path.into(),
                (libc::O_WRONLY | libc::O_CLOEXEC).into(),
            ];
            let open = Call::new(format!("{name}: open"), libc::SYS_openat, args);
            let file = cx.plan.call(Stage::Attributes, leader, open);
            let length = value.len() as u64;
            let args = [Arg::Returned(file), Data::new(value).into(), length.into()];
            let write =
                Call::new(format!("{name}: write"), libc::SYS_write, args).must_return(length);
            cx.plan.call(Stage::Attributes, leader, write);
            let close = Call::new(
                format!("{name}: close"),
                libc::SYS_close,
                [Arg::Returned(file)],
            );
            cx.plan.call(Stage::Attributes, leader, close);
        }
        Ok(())
    }
}
