// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Private anonymous memory: heap, stacks, what `malloc` maps, reserved address space.
//!
//! What makes the heap `[heap]` and the stack `[stack]` is not stored here but in the process's
//! [`AddressSpace`](super::address_space::AddressSpace).

use crust_model::Result;
use crust_model::plan::Stage;
use crust_proc::smaps::{Vma, vm_flag};
use serde::{Deserialize, Serialize};

use super::area::Area;
use super::layout::Layout;
use super::{Content, MappingKind, MemoryCapture};

/// A mapping of private anonymous memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrivateAnonymous {
    /// The address range, protection and advice of the mapping.
    pub area: Area,
    /// The name of the mapping (`PR_SET_VMA_ANON_NAME`).
    pub name: Option<Vec<u8>>,
}

impl MappingKind for PrivateAnonymous {
    const TAG: u16 = 0x0210;
    const NAME: &'static str = "private anonymous memory";
    const SUPPORT: &'static str =
        "Contents, protection, advice, locks, guards, names, seals; stacks that grow.";
    const CONTENT: Content = Content::Private;

    fn matches(vma: &Vma) -> bool {
        // Special mappings (`[vdso]`) and the memory of devices have no inode either; these were
        // sorted out before.
        vma.inode == 0 && !vma.is_any(vm_flag::MAY_SHARE)
    }

    fn capture(vma: &Vma, _found: &mut MemoryCapture<'_>) -> Result<Option<Self>> {
        Ok(Some(Self {
            area: Area::of(vma),
            name: vma.given_name(b"[anon:"),
        }))
    }

    fn area(&self) -> &Area {
        &self.area
    }

    fn plan(list: &[Self], layout: &mut Layout<'_>) -> Result<()> {
        for mapping in list {
            mapping.area.map(Stage::MapMemory, layout, None);
            if let Some(name) = &mapping.name {
                mapping.area.name(Stage::MapMemory, layout, name);
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        format!("{} {}", self.area.describe(), String::from_utf8_lossy(name))
    }
}
