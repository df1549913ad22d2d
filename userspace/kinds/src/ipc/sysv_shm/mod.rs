// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A System V shared memory segment (`shmget`), with everything that the kernel knows about it except the times.
//!
//! Unlike other shared memory it exists whether it is attached or not, and has an id that programs keep and pass on. So
//! it moves into the image with the processes: it is removed when a dump has killed them, and a restore recreates it
//! under its id, which can be preset for the next segment that is created (`kernel.shm_next_id`). If the restore fails,
//! it is removed again.
//!
//! Segments that no process of the tree attaches stay where they are.

pub mod capture;
mod effect;

use crust_image::PAGE_SIZE;
use crust_model::Result;
use crust_model::effect::Effect;
use crust_model::image::Image;
use crust_model::object::{Extent, State};
use crust_model::refusal::{Refusals, Subject};
use crust_sys::shm;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

pub use self::capture::FoundSegments;
use self::effect::{RecreatedSegments, RemovedSegments};
use crate::capture::Capture;
use crate::conflicts::Conflicts;
use crate::kind::{End, Kind, Kinds, OfTree, TreeKind};
use crate::pathless::Contents;

/// A System V shared memory segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The id of the segment.
    pub id: i32,
    /// The key by which other processes find it, or 0.
    pub key: i32,
    /// The user that owns it.
    pub uid: u32,
    /// The group that owns it.
    pub gid: u32,
    /// The user that created it.
    pub creator_uid: u32,
    /// The group that created it.
    pub creator_gid: u32,
    /// The permissions, and whether it is locked or marked for removal ([`shm`]).
    pub mode: u32,
    /// The contents of the segment.
    pub contents: Contents,
    /// The pid of the process that recreates it; one process recreates all segments.
    pub maker: i32,
}

impl State for Segment {
    const TAG: u16 = 0x0224;
    const NAME: &'static str = "System V segment";
    const SUPPORT: &'static str = "Number, key, size, mode, owner, creator, contents; whether it is \
        locked or to be removed; also of huge pages. Those that no program outside of the tree has \
        attached: a dump that kills removes them. Their times, and who made and attached them, are lost.";

    fn describe(&self) -> String {
        let key = match self.key {
            libc::IPC_PRIVATE => "no key".to_owned(),
            key => format!("key {key:#x}"),
        };
        let removed = if self.mode & shm::DEST != 0 {
            ", to be removed"
        } else {
            ""
        };
        let contents = self.contents.describe();
        format!("{} with {key}{removed}: {contents}", self.title())
    }

    fn extents(&self) -> Vec<Extent> {
        vec![self.contents.extent()]
    }
}

impl Segment {
    pub(crate) fn title(&self) -> String {
        format!("segment {}", self.id)
    }

    pub(crate) fn has_huge_pages(&self) -> bool {
        self.contents.huge != 0
    }

    /// Returns the length of the segment in memory.
    #[must_use]
    pub fn length(&self) -> u64 {
        let page = 1_u64.checked_shl(self.contents.huge.into()).unwrap_or(0);
        let length = self
            .contents
            .size
            .checked_next_multiple_of(page.max(PAGE_SIZE));
        length.unwrap_or(self.contents.size)
    }
}

impl Kind for Segment {
    type Source = OfTree;

    /// Refuses the segments that programs outside of the tree have too, and has the contents of all others copied.
    fn finish(_: Kinds, cx: &mut Capture<'_>) -> Result<()> {
        let mut segments = cx.notes.take::<FoundSegments>();
        segments.settle(cx.tree, &mut cx.refusals);
        cx.jobs.extend(segments.into_taken());
        Ok(())
    }

    /// Refuses the segments whose ids or keys are taken on this machine.
    fn conflicts(_: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        cx.each(Self::check);
        Ok(())
    }

    fn effect(end: End, image: &Image) -> Option<Box<dyn Effect + '_>> {
        Some(match end {
            End::Kill => Box::new(RemovedSegments::of(image)),
            End::Release => Box::new(RecreatedSegments::of(image)),
        })
    }
}

/// Segments are captured and planned with the mappings that attach them.
impl TreeKind for Segment {}

impl Segment {
    fn check(&self, refusals: &mut Refusals) {
        let title = format!("System V segment {}", self.id);
        let mut block = |why: String, id: i32| {
            let remedy =
                format!("remove that one (ipcrm -m {id}), or end the programs that use it");
            refusals.block(Subject::Image, "sysv-taken", title.as_str(), why, remedy);
        };
        if !matches!(shm::stat(self.id), Err(Errno::EINVAL | Errno::EIDRM)) {
            block("there is one with this number now".into(), self.id);
        } else if self.key != libc::IPC_PRIVATE {
            if let Ok(id) = shm::find(self.key) {
                let key = self.key;
                block(format!("segment {id} has its key {key:#x} now"), id);
            }
        }
    }
}
