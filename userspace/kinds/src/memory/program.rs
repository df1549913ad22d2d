// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The program that a process runs, which `/proc/PID/exe` leads to: a file with a path, a memfd
//! (`fexecve`), or a file that was deleted since (for instance replaced by an update).
//!
//! The kernel does not let anybody write to a running program (`ETXTBSY`), nor set a file as the program while somebody
//! has it open for writing. So a program without a path is filled before, and its maker keeps it open for reading only.

use crust_model::Result;
use crust_model::plan::{Arg, Call, Stage, reserved};
use crust_model::refusal::Refusals;
use serde::{Deserialize, Serialize};

use super::MemoryCapture;
use super::capture::Look;
use super::layout::{Layout, open_call};
use super::mapped_file::{MappedFile, read_link};
use crate::memory::build_id::BuildIds;
use crate::pathless::PathlessFiles;

/// The program of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A file that can be reached by its path.
    Named(MappedFile),
    /// A file without a path, by its number among those.
    Pathless(u32),
}

impl Default for Program {
    fn default() -> Self {
        Self::Named(MappedFile::default())
    }
}

impl Program {
    /// Captures the program of a process; returns `None` after a refusal.
    ///
    /// # Errors
    ///
    /// Returns errors of looking at `/proc/PID/exe`.
    pub fn capture(found: &mut MemoryCapture<'_>) -> Result<Option<Self>> {
        let path = read_link(found.process, "exe")?;
        let (proc, pid) = (&found.process.proc, found.process.pid);
        if crust_proc::stat_of(proc, pid, "exe")?.st_mode & 0o111 == 0 {
            found.refusals.block(
                pid,
                "program-not-executable",
                format!("program {}", String::from_utf8_lossy(&path)),
                "nobody may execute it any more, so a restore could not make it the program of a process",
                "make it executable again (chmod +x)",
            );
            return Ok(None);
        }
        Ok(match found.look("exe", &path)? {
            Ok(Look::Named(mut file)) => {
                file.build_id = found
                    .notes
                    .of::<BuildIds>()
                    .get(&file.path, file.identity());
                Some(Self::Named(file))
            }
            Ok(Look::Pathless(id)) => {
                found.notes.of::<PathlessFiles>().is_program(id);
                Some(Self::Pathless(id))
            }
            Err(unreachable) => {
                let object = format!("program {}", String::from_utf8_lossy(&path));
                found.refusals.block(
                    pid,
                    unreachable.code,
                    object,
                    unreachable.why,
                    unreachable.remedy,
                );
                None
            }
        })
    }

    /// Opens a program without a path while its maker still has it.
    ///
    /// # Errors
    ///
    /// Returns an error if the image does not have it.
    pub fn prepare(&self, layout: &mut Layout<'_>) -> Result<()> {
        let Self::Pathless(id) = self else {
            return Ok(());
        };
        let stage = Stage::ShareMemory;
        let proc = layout.reserved(reserved::PROC);
        let holding_fd = layout.backed.holding_fd(*id)?;
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let open = holding_fd.open(layout.task.process, proc, flags);
        let opened = layout.call(stage, open);
        let number = layout.temporary();
        let args = [opened.into(), number.into(), libc::O_CLOEXEC.into()];
        layout.call(
            stage,
            Call::new("program: move it out of the way", libc::SYS_dup3, args),
        );
        layout.call(
            stage,
            Call::new(
                "program: close where it was",
                libc::SYS_close,
                [opened.into()],
            ),
        );
        Ok(())
    }

    /// Opens the program in [`Stage::SealMemory`]; returns the number of its descriptor, and the
    /// descriptors to close afterwards.
    pub fn open(&self, layout: &mut Layout<'_>) -> (i32, Vec<Arg>) {
        let Self::Named(file) = self else {
            let number = layout.temporary();
            return (number, vec![Arg::from(number)]);
        };
        // The descriptor number goes into a structure, so it must be known beforehand.
        let stage = Stage::SealMemory;
        let number = layout.temporary();
        let fd = layout.call(stage, open_call(file, libc::O_RDONLY));
        layout.call(
            stage,
            Call::new(
                "program: number of the descriptor",
                libc::SYS_dup3,
                [fd.into(), number.into(), libc::O_CLOEXEC.into()],
            ),
        );
        (number, vec![Arg::from(number), Arg::from(fd)])
    }

    /// Notes if the program is no longer the same.
    pub fn conflicts(&self, pid: i32, refusals: &mut Refusals) {
        if let Self::Named(file) = self {
            file.conflicts(true, pid, refusals);
        }
    }

    /// Returns the path of the program, for the user.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Named(file) => String::from_utf8_lossy(&file.path).into_owned(),
            Self::Pathless(id) => format!("file {id} without a path"),
        }
    }
}
