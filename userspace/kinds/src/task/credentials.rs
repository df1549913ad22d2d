// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The credentials of a thread (`credentials(7)`, `capabilities(7)`).

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Arg, Call, Data, Expect, Stage, TaskId};
use crust_model::refusal::Weight;
use crust_model::words::count;
use crust_sys::{uapi, word};
use crust_tracee::privileges;
use linux_raw_sys::general::{CAP_LAST_CAP, CAP_SETPCAP};
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView, missing, tree};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

const RUN_AS_ROOT: &str = "run crust as root, outside of a container that drops capabilities";

/// The real, effective, saved and file system ids.
type Ids = [u32; 4];

/// The credentials of a thread. Capability sets have bit `n` for capability `n`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    uids: Ids,
    gids: Ids,
    groups: Vec<u32>,
    inheritable: u64,
    permitted: u64,
    effective: u64,
    bounding: u64,
    ambient: u64,
    securebits: u32,
    no_new_privs: bool,
    /// The signal that the thread gets when its parent exits.
    parent_death_signal: i32,
}

impl State for Credentials {
    const TAG: u16 = 0x0107;
    const NAME: &'static str = "credentials";
    const SUPPORT: &'static str = "user and group ids, groups, capabilities, securebits, \
                                   no_new_privs, parent death signal, of each thread";

    fn describe(&self) -> String {
        format!(
            "uid {}, gid {}, {}, capabilities {:#x}",
            self.uids[1],
            self.gids[1],
            count(self.groups.len() as u64, "group", "groups"),
            self.effective
        )
    }
}

impl Kind for Credentials {
    type Source = OfThread;
}

impl ThreadAspect for Credentials {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let status = &view.text.status;
        let tid = view.thread.tid;
        let ids = |field: &str| -> Result<Ids> {
            status
                .numbers(field)
                .and_then(|ids| ids.try_into().ok())
                .ok_or_else(|| missing(tid, field))
        };
        let capabilities = |field: &str| status.hex(field).ok_or_else(|| missing(tid, field));
        let uapi::Thread {
            securebits,
            pdeath_signal,
            ..
        } = view.kernel;
        Ok(Some(Self {
            uids: ids("Uid")?,
            gids: ids("Gid")?,
            groups: status
                .numbers("Groups")
                .ok_or_else(|| missing(tid, "Groups"))?,
            inheritable: capabilities("CapInh")?,
            permitted: capabilities("CapPrm")?,
            effective: capabilities("CapEff")?,
            bounding: capabilities("CapBnd")?,
            ambient: capabilities("CapAmb")?,
            securebits,
            no_new_privs: status.number("NoNewPrivs") == Some(1),
            parent_death_signal: pdeath_signal,
        }))
    }

    /// Plans the credentials. Each step needs privileges that a later one drops: ids, then capability sets while
    /// `CAP_SETPCAP` is kept, then the final values.
    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        self.check(task, cx);
        let mut call = |what: String, nr, args: Vec<_>, expect| {
            let call = Call {
                expect,
                ..Call::new(format!("credentials: {what}"), nr, args)
            };
            cx.plan.call(Stage::Credentials, task, call);
        };
        let groups: Vec<u8> = self.groups.iter().flat_map(|id| id.to_ne_bytes()).collect();
        let args = vec![(self.groups.len() as u64).into(), Data::new(groups).into()];
        call("groups".into(), libc::SYS_setgroups, args, Expect::Success);
        // Otherwise a change of user ids would clear the capability sets.
        let bits = vec![
            libc::PR_SET_SECUREBITS.into(),
            libc::SECBIT_NO_SETUID_FIXUP.into(),
        ];
        call(
            "securebits for now".into(),
            libc::SYS_prctl,
            bits,
            Expect::Success,
        );
        for (what, all, fs, ids) in [
            (
                "group ids",
                libc::SYS_setresgid,
                libc::SYS_setfsgid,
                self.gids,
            ),
            (
                "user ids",
                libc::SYS_setresuid,
                libc::SYS_setfsuid,
                self.uids,
            ),
        ] {
            let [real, effective, saved, filesystem] = ids.map(u64::from);
            let args = vec![real.into(), effective.into(), saved.into()];
            call(what.into(), all, args, Expect::Success);
            if filesystem != effective {
                // The call returns the old id whether it succeeded or not: the second call shows the result.
                for expect in [Expect::Exactly(effective), Expect::Exactly(filesystem)] {
                    call(
                        format!("file system {what}"),
                        fs,
                        vec![filesystem.into()],
                        expect,
                    );
                }
            }
        }
        let kept = 1 << CAP_SETPCAP;
        let args = self.capset(self.permitted | kept, self.effective | kept);
        call(
            "capabilities for now".into(),
            libc::SYS_capset,
            args,
            Expect::Success,
        );
        let ambient = |what: i32, capability: u32| {
            vec![
                libc::PR_CAP_AMBIENT.into(),
                what.into(),
                u64::from(capability).into(),
                0.into(),
                0.into(),
            ]
        };
        let args = ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0);
        call(
            "no ambient capabilities".into(),
            libc::SYS_prctl,
            args,
            Expect::Success,
        );
        for capability in (0..=CAP_LAST_CAP).filter(|n| self.ambient & 1 << n != 0) {
            let args = ambient(libc::PR_CAP_AMBIENT_RAISE, capability);
            let what = format!("ambient capability {capability}");
            call(what, libc::SYS_prctl, args, Expect::Success);
        }
        for capability in (0..=CAP_LAST_CAP).filter(|n| self.bounding & 1 << n == 0) {
            let args = vec![libc::PR_CAPBSET_DROP.into(), u64::from(capability).into()];
            let what = format!("capability {capability} leaves the bounding set");
            call(what, libc::SYS_prctl, args, Expect::Success);
        }
        let args = vec![
            libc::PR_SET_SECUREBITS.into(),
            u64::from(self.securebits).into(),
        ];
        call("securebits".into(), libc::SYS_prctl, args, Expect::Success);
        let args = self.capset(self.permitted, self.effective);
        call(
            "capabilities".into(),
            libc::SYS_capset,
            args,
            Expect::Success,
        );
        let adopted = task.process.0 == 0 && cx.options.detached;
        if self.parent_death_signal != 0 && adopted {
            // The parent is crust, which exits as soon as the program runs.
            cx.refusals.lose(
                tree::number(cx.image, task),
                "parent-death-signal",
                "parent death signal",
                "its parent will be crust, which ends at once: it does not get this signal",
                "restore it without --restore-detached",
            );
        } else if self.parent_death_signal != 0 {
            // The kernel clears it when credentials change.
            let args = vec![
                libc::PR_SET_PDEATHSIG.into(),
                self.parent_death_signal.into(),
            ];
            call(
                "parent death signal".into(),
                libc::SYS_prctl,
                args,
                Expect::Success,
            );
        }
        if self.no_new_privs {
            let args = [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0].map(Arg::from);
            let call = Call::new("credentials: no_new_privs", libc::SYS_prctl, args);
            // This comes after what it would forbid, such as a change of the security label.
            cx.plan.call(Stage::Timers, task, call);
        }
        Ok(())
    }
}

impl Credentials {
    /// Records privileges and restrictions that the task would lose or gain because crust itself lacks or has them.
    /// Identical ones are recorded once.
    fn check(&self, task: TaskId, cx: &mut PlanCx<'_>) {
        let own = cx.features.own;
        let sets = self.permitted | self.effective | self.inheritable | self.ambient;
        let (image, refusals) = (cx.image, &mut cx.refusals);
        let mut note = |weight, object: &str, why: String, remedy: &str| {
            let noted = refusals.as_slice().iter().any(|one| one.why == why);
            if !noted {
                refusals.note(
                    weight,
                    tree::number(image, task),
                    "privileges",
                    object,
                    why,
                    remedy,
                );
            }
        };
        let missing = sets & !own.effective;
        if missing != 0 {
            let why = match own.effective {
                0 => "the program has capabilities, and crust has none".into(),
                _ => format!(
                    "the program has capabilities that crust does not have: {}",
                    privileges::names(missing)
                ),
            };
            note(Weight::Blocker, "capabilities", why, RUN_AS_ROOT);
        }
        let missing = self.bounding & !own.bounding & !missing;
        if missing != 0 {
            let names = privileges::names(missing);
            note(
                Weight::Loss,
                "capabilities",
                format!("its bounding set loses these, which that of crust does not have: {names}"),
                RUN_AS_ROOT,
            );
        }
        if own.no_new_privs && !self.no_new_privs {
            note(
                Weight::Loss,
                "no_new_privs",
                "it is set for crust, and so for what crust restores".into(),
                "run crust without it (setpriv and systemd can set it)",
            );
        }
        if own.is_filtered {
            note(
                Weight::Loss,
                "seccomp",
                "the system calls of crust are filtered, and so are those of what crust restores"
                    .into(),
                "run crust outside of a container that filters its system calls",
            );
        }
    }

    /// Returns the arguments of `capset(2)`: a header and two structures of three 32-bit sets.
    fn capset(&self, permitted: u64, effective: u64) -> Vec<crust_model::plan::Arg> {
        let words = |words: &[u32]| {
            Data::new(
                words
                    .iter()
                    .flat_map(|word| word.to_ne_bytes())
                    .collect::<Vec<u8>>(),
            )
        };
        let high = |set: u64| word::to_uint(set >> 32);
        let sets = [effective, permitted, self.inheritable];
        let data = [sets.map(word::to_uint), sets.map(high)].concat();
        vec![words(&[CAPABILITY_VERSION, 0]).into(), words(&data).into()]
    }
}
