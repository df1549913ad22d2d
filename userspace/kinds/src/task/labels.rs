// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Labels of a security module: that of a thread (`/proc/PID/attr/current`), and those that it has chosen for what it
//! creates (`exec`, `fscreate`, `keycreate`, `sockcreate`).
//!
//! A restored thread starts with the label of crust, and requests its own through the same files; whether that is
//! allowed is up to the module. Smack requires `CAP_MAC_ADMIN` for it, so it comes before the credentials. SELinux and
//! AppArmor decide about capabilities by the label, so with them it comes after the credentials, and before
//! `no_new_privs`, which would forbid it.
//!
//! Landlock has no labels: the kernel does not show the domain of a thread.

use crust_model::object::State;
use crust_model::plan::{Arg, Call, Data, Stage, TaskId};
use crust_model::{Error, Result, index};
use crust_tracee::security_labels::{FILES, Module, own};
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// The label files whose contents differ from crust's: their numbers and contents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels(Vec<(u32, Vec<u8>)>);

impl State for Labels {
    const TAG: u16 = 0x011c;
    const NAME: &'static str = "security labels";
    const SUPPORT: &'static str = "of SELinux, AppArmor or Smack, of each thread: its own if crust has \
                                   another, and those for programs, files, keys and sockets";

    fn describe(&self) -> String {
        let words: Vec<_> = self
            .0
            .iter()
            .map(|(number, value)| {
                let name = FILES.get(*number as usize).map_or("?", |file| file.name);
                format!("{name}: {}", String::from_utf8_lossy(label(value)))
            })
            .collect();
        words.join(", ")
    }
}

/// Strips the line end, and the mode that AppArmor appends, from a label.
fn label(value: &[u8]) -> &[u8] {
    let end = value
        .iter()
        .rposition(|byte| !matches!(byte, b'\n' | 0))
        .map_or(0, |last| last + 1);
    let value = &value[..end];
    if !value.ends_with(b")") {
        return value;
    }
    let mode = value.windows(2).rposition(|two| two == b" (");
    &value[..mode.unwrap_or(value.len())]
}

impl Kind for Labels {
    type Source = OfThread;
}

impl ThreadAspect for Labels {
    fn capture(view: &ThreadView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        let mut labels = Vec::new();
        for ((number, own), theirs) in own().iter().zip(&view.text.labels) {
            let theirs = theirs.as_deref().unwrap_or_default();
            if label(theirs) != label(own.as_deref().unwrap_or_default()) {
                labels.push((index::number(*number), label(theirs).to_vec()));
            }
        }
        let is_late =
            |(number, _): &(u32, Vec<u8>)| FILES[*number as usize].module != Module::Smack;
        if labels.iter().any(is_late) {
            let (process, tid) = (view.process, view.thread.tid);
            let root = crust_proc::link(&process.proc, process.pid, "root")?;
            if root.as_os_str() != "/" {
                capture.refusals.block(
                    tid,
                    "security-label",
                    "security label",
                    "it has another label than crust, and a root directory of its own (chroot), in which a restored \
                     process could not set it",
                    "run crust with the same label, or run the program without a root directory of its own",
                );
            }
        }
        Ok((!labels.is_empty()).then_some(Self(labels)))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        for (number, value) in &self.0 {
            let Some(file) = FILES.get(*number as usize) else {
                return Err(Error::malformed(Self::NAME, "a file that there is not"));
            };
            let (stage, word) = match file.module {
                Module::Smack => (Stage::Attributes, ""),
                Module::AppArmor(word) => (Stage::Credentials, word),
                Module::Other => (Stage::Credentials, ""),
            };
            let what = format!(
                "security label: {} {}",
                file.name,
                String::from_utf8_lossy(value)
            );
            let path = Data::string(format!("/proc/thread-self/attr/{}", file.name));
            let args = [
                libc::AT_FDCWD.into(),
                path.into(),
                (libc::O_WRONLY | libc::O_CLOEXEC).into(),
            ];
            let open = Call::new(format!("{what}: open"), libc::SYS_openat, args);
            let opened = cx.plan.call(stage, task, open);
            let text = [word.as_bytes(), value].concat();
            let length = text.len() as u64;
            let args = [Arg::Returned(opened), Data::new(text).into(), length.into()];
            let write =
                Call::new(format!("{what}: write"), libc::SYS_write, args).must_return(length);
            cx.plan.call(stage, task, write);
            let args = [Arg::Returned(opened)];
            let close = Call::new(format!("{what}: close"), libc::SYS_close, args);
            cx.plan.call(stage, task, close);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_without_their_mode() {
        for (text, is) in [
            ("unconfined\n", "unconfined"),
            ("/usr/sbin/cupsd (enforce)\n", "/usr/sbin/cupsd"),
            ("a (b) (complain)\n", "a (b)"),
            (
                "system_u:system_r:init_t:s0\0",
                "system_u:system_r:init_t:s0",
            ),
            ("_", "_"),
            ("", ""),
        ] {
            assert_eq!(label(text.as_bytes()), is.as_bytes());
        }
    }
}
