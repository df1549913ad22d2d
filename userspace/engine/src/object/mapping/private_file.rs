// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A private mapping of a file: programs and libraries. The pages that the program has written are
//! its own and in the image; all others come from the file.

use serde::{Deserialize, Serialize};

use super::area::Area;
use super::layout::Layout;
use super::vma::{Vma, trait_bit};
use super::{Content, Found, MappingKind};
use crate::Result;
use crate::plan::Stage;

/// A private mapping of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateFile {
    /// Where and how.
    pub area: Area,
    /// The file, in [`MappedFiles`](super::mapped_file::MappedFiles).
    pub file: u32,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
}

impl MappingKind for PrivateFile {
    const TAG: u16 = 0x0211;
    const NAME: &'static str = "private file mapping";
    const SUPPORT: &'static str = "The pages that were written; the others come from the file.";
    const CONTENT: Content = Content::Written;

    fn matches(vma: &Vma) -> bool {
        vma.inode != 0 && !vma.is_any(trait_bit::MAY_SHARE)
    }

    fn capture(vma: &Vma, found: &mut Found<'_>) -> Result<Option<Self>> {
        Ok(found.file(vma, true)?.map(|file| Self {
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
            let file = layout.open(mapping.file, false)?;
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
