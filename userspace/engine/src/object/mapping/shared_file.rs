// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A shared mapping of a file. Its contents are the file's: nothing of it is in the image.

use serde::{Deserialize, Serialize};

use super::area::Area;
use super::layout::Layout;
use super::vma::{Vma, trait_bit};
use super::{Content, Found, MappingKind};
use crate::Result;
use crate::plan::Stage;

/// A shared mapping of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedFile {
    /// Where and how.
    pub area: Area,
    /// The file, in [`MappedFiles`](super::mapped_file::MappedFiles).
    pub file: u32,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
}

impl MappingKind for SharedFile {
    const TAG: u16 = 0x0212;
    const NAME: &'static str = "shared file mapping";
    const SUPPORT: &'static str = "By the file's path; the contents are the file's.";
    const CONTENT: Content = Content::Elsewhere;

    fn matches(vma: &Vma) -> bool {
        vma.inode != 0 && vma.is(trait_bit::MAY_SHARE)
    }

    fn capture(vma: &Vma, found: &mut Found<'_>) -> Result<Option<Self>> {
        Ok(found.file(vma, false)?.map(|file| Self {
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
            // Whoever opened the file for reading only may not make the mapping writable later.
            let writable = mapping.area.is(trait_bit::MAY_WRITE);
            let file = layout.open(mapping.file, writable)?;
            let source = Some((file, mapping.offset));
            mapping.area.map(Stage::MapMemory, layout, source);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!(
            "{} file {} at {:#x}",
            self.area.describe(),
            self.file,
            self.offset
        )
    }
}
