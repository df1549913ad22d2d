// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The working directory, root directory and umask of a process (`struct fs_struct`).

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Call, Data, ProcessId, Stage};
use nix::sys::stat::{FileStat, stat};
use serde::{Deserialize, Serialize};

use super::{ProcessAspect, ProcessView, missing};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfProcess;

/// The directories of a process, as paths that crust sees, not as the process sees them below its root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directories {
    /// The working directory.
    cwd: Vec<u8>,
    /// The root directory, if it differs from crust's.
    root: Option<Vec<u8>>,
    umask: u32,
}

impl State for Directories {
    const TAG: u16 = 0x0109;
    const NAME: &'static str = "directories";
    const SUPPORT: &'static str = "working directory, root directory and umask";

    fn describe(&self) -> String {
        let path = |bytes: &[u8]| Path::new(OsStr::from_bytes(bytes)).display().to_string();
        let root = self
            .root
            .as_ref()
            .map_or(String::new(), |root| format!(", root {}", path(root)));
        format!("{}{root}, umask {:03o}", path(&self.cwd), self.umask)
    }
}

/// Returns whether two names lead to the same directory.
fn same(a: &FileStat, b: &FileStat) -> bool {
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

impl Kind for Directories {
    type Source = OfProcess;
}

impl ProcessAspect for Directories {
    fn capture(view: &ProcessView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        if view.sharing.directories {
            return Ok(None);
        }
        let process = view.process;
        let mut path = |name: &str, what: &str| -> Result<Option<Vec<u8>>> {
            let link = crust_proc::link(&process.proc, process.pid, name)?;
            let there = crust_proc::stat_of(&process.proc, process.pid, name)?;
            // The target of the link is informational: the path may have been removed, replaced or covered by a mount.
            if stat(&link).is_ok_and(|here| same(&here, &there)) {
                return Ok(Some(link.as_os_str().as_bytes().into()));
            }
            capture.refusals.block(
                process.pid,
                "directory-unreachable",
                what,
                format!(
                    "the path {} does not lead to it: it was removed, moved or covered by a mount",
                    link.display()
                ),
                "have the program change to a directory that has a path",
            );
            Ok(None)
        };
        let cwd = path("cwd", "working directory")?;
        let root = path("root", "root directory")?;
        let umask = view
            .status
            .get("Umask")
            .and_then(|umask| u32::from_str_radix(umask, 8).ok())
            .ok_or_else(|| missing(process.pid, "Umask"))?;
        Ok(cwd.zip(root).map(|(cwd, root)| Self {
            cwd,
            root: (root != b"/").then_some(root),
            umask,
        }))
    }

    fn plan(&self, process: ProcessId, cx: &mut PlanCx<'_>) -> Result<()> {
        let leader = process.leader();
        let path = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let what = format!("working directory: change to {}", path(&self.cwd));
        let args = [Data::string(&self.cwd).into()];
        // Change directory as early as `Attributes`, while paths are still those that crust sees.
        cx.plan.call(
            Stage::Attributes,
            leader,
            Call::new(what, libc::SYS_chdir, args),
        );
        let args = [u64::from(self.umask).into()];
        cx.plan.call(
            Stage::Attributes,
            leader,
            Call::new("umask", libc::SYS_umask, args),
        );
        if let Some(root) = &self.root {
            let what = format!("root directory: change to {}", path(root));
            let args = [Data::string(root).into()];
            cx.plan.call(
                Stage::Credentials,
                leader,
                Call::new(what, libc::SYS_chroot, args),
            );
        }
        Ok(())
    }
}
