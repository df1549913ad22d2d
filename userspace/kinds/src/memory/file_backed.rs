// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A mapping of a file. In a private one (programs and libraries) the pages that the program has
//! written are its own and are in the image; all others come from the file. The contents of a
//! shared one are the file's: none of them are in the image, unless no path leads to the file
//! ([`pathless`](crate::pathless)), in which case the image holds its contents separately.

use crust_model::Result;
use crust_model::plan::Stage;
use crust_proc::smaps::{Vma, vm_flag};
use serde::{Deserialize, Serialize};

use super::area::Area;
use super::layout::Layout;
use super::{Content, MappingKind, MemoryCapture};

/// A private mapping of a file.
pub type PrivateFile = FileBacked<false>;

/// A shared mapping of a file.
pub type SharedFile = FileBacked<true>;

/// The file behind a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Behind {
    /// A file with a path, by its index in [`MappedFiles`](super::mapped_file::MappedFiles).
    Named(u32),
    /// A file without a path, by its number among those.
    Pathless(u32),
}

impl Default for Behind {
    fn default() -> Self {
        Self::Named(0)
    }
}

/// A mapping of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileBacked<const SHARED: bool> {
    /// The address range, protection and advice of the mapping.
    pub area: Area,
    /// The file that is mapped.
    pub file: Behind,
    /// The offset in the file at which the mapping begins, in bytes.
    pub offset: u64,
}

impl<const SHARED: bool> MappingKind for FileBacked<SHARED> {
    const TAG: u16 = if SHARED { 0x0212 } else { 0x0211 };
    const VERSION: u16 = 2;
    const NAME: &'static str = if SHARED {
        "shared file mapping"
    } else {
        "private file mapping"
    };
    const SUPPORT: &'static str = if SHARED {
        "By the file's path; the contents are the file's. Also of memfds and deleted files."
    } else {
        "The pages that were written; the others come from the file. Also of memfds and deleted files."
    };
    const CONTENT: Content = if SHARED {
        Content::Elsewhere
    } else {
        Content::Written
    };

    fn matches(vma: &Vma) -> bool {
        vma.inode != 0 && vma.is(vm_flag::MAY_SHARE) == SHARED
    }

    fn capture(vma: &Vma, found: &mut MemoryCapture<'_>) -> Result<Option<Self>> {
        Ok(found.file(vma, !SHARED)?.map(|file| Self {
            area: Area::of(vma),
            file,
            offset: vma.offset,
        }))
    }

    fn area(&self) -> &Area {
        &self.area
    }

    fn plan(list: &[Self], layout: &mut Layout<'_>) -> Result<()> {
        for mapping in list {
            // A shared mapping of a file that was opened for reading only cannot be made writable
            // later; a private one needs no more than that.
            let writable = SHARED && mapping.area.is(vm_flag::MAY_WRITE);
            if layout.keeps(&mapping.area.range()) {
                mapping.area.map(Stage::MapMemory, layout, None);
                continue;
            }
            let (stage, file) = layout.open(mapping.file, writable)?;
            mapping
                .area
                .map(stage, layout, Some((file, mapping.offset)));
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let file = match self.file {
            Behind::Named(place) => format!("file {place}"),
            Behind::Pathless(id) => format!("file {id} without a path"),
        };
        format!("{} {file} at {:#x}", self.area.describe(), self.offset)
    }
}
