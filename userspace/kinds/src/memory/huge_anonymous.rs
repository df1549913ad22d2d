// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Private anonymous memory of huge pages (`MAP_HUGETLB`). Each such mapping is backed by a hugetlbfs file that no
//! other process has, `/anon_hugepage`, which is visible only as a name in `/proc/PID/maps`.
//!
//! A dump that leaves the program running does not copy such pages by a fork: the kernel may have no huge page left
//! when the program then writes to one, and would kill the program.

use crust_model::Result;
use crust_model::plan::Stage;
use crust_proc::smaps::{Vma, vm_flag};
use serde::{Deserialize, Serialize};

use super::area::Area;
use super::layout::Layout;
use super::{Content, MappingKind, MemoryCapture};

/// The name in `/proc/PID/maps` of anonymous memory of huge pages, shared or not.
pub const NAME: &[u8] = b"/anon_hugepage (deleted)";

/// A mapping of private anonymous memory of huge pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HugeAnonymous {
    /// The address range, protection and advice of the mapping.
    pub area: Area,
    /// The size of the pages, as a power of two.
    #[serde(deserialize_with = "crate::contents::huge_shift")]
    pub huge: u8,
}

impl MappingKind for HugeAnonymous {
    const TAG: u16 = 0x0215;
    const NAME: &'static str = "private memory of huge pages";
    const SUPPORT: &'static str = "MAP_HUGETLB, with pages of any size that the machine of the restore \
        has enough of: contents, protection, advice.";
    const CONTENT: Content = Content::Private;

    fn matches(vma: &Vma) -> bool {
        vma.is(vm_flag::HUGETLB) && !vma.is(vm_flag::MAY_SHARE) && vma.name == NAME
    }

    fn capture(vma: &Vma, _found: &mut MemoryCapture<'_>) -> Result<Option<Self>> {
        Ok(Some(Self {
            area: Area::of(vma),
            huge: vma.huge,
        }))
    }

    fn area(&self) -> &Area {
        &self.area
    }

    fn plan(list: &[Self], layout: &mut Layout<'_>) -> Result<()> {
        for mapping in list {
            mapping
                .area
                .map_huge(Stage::MapMemory, layout, mapping.huge);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let size = 1_u64.checked_shl(self.huge.into()).unwrap_or(0) >> 10;
        format!("{} pages of {size} KiB", self.area.describe())
    }
}
