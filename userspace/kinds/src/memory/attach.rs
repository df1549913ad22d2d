// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A System V shared memory segment in an address space (`shmat`): all of it, or what was left after parts were
//! unmapped, given another protection, or moved. The kernel counts each such mapping, and `shmdt` finds those that came
//! from one `shmat` by where the segment would begin. So each is attached again; if only parts are left, the segment is
//! attached aside and the parts are duplicated from there.

use std::collections::BTreeMap;

use crust_model::Result;
use crust_model::plan::{Call, Stage};
use crust_proc::smaps::{Vma, vm_flag};
use serde::{Deserialize, Serialize};

use super::area::Area;
use super::layout::Layout;
use super::{Content, MappingKind, MemoryCapture};
use crate::ipc::sysv_shm::FoundSegments;

/// The stage in which segments are attached: by then all are made.
const STAGE: Stage = Stage::ShareMemory;

/// A mapping of a segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The address range, protection and advice of the mapping.
    pub area: Area,
    /// The number of the segment.
    pub segment: i32,
    /// The offset in the segment at which the mapping begins, in bytes.
    pub offset: u64,
}

impl MappingKind for Attach {
    const TAG: u16 = 0x0216;
    const NAME: &'static str = "attached System V segment";
    const SUPPORT: &'static str =
        "At its address, read-only or not, also parts; the counts of attachments come right.";
    const CONTENT: Content = Content::Object;

    fn matches(vma: &Vma) -> bool {
        vma.is(vm_flag::MAY_SHARE)
            && vma.name.starts_with(b"/SYSV")
            && vma.name.ends_with(b" (deleted)")
    }

    fn capture(vma: &Vma, found: &mut MemoryCapture<'_>) -> Result<Option<Self>> {
        let (pid, title) = (found.process.pid, vma.title());
        let (segment, length) = match found.notes.of::<FoundSegments>().note(found.process, vma)? {
            Ok(found) => found,
            Err(unreachable) => {
                let (why, remedy) = (unreachable.why, unreachable.remedy);
                found
                    .refusals
                    .block(pid, "sysv-segment", title, why, remedy);
                return Ok(None);
            }
        };
        let is_whole = vma.offset == 0 && vma.length() == length;
        if !is_whole && vma.is(vm_flag::HUGETLB) {
            found.refusals.block(
                pid,
                "sysv-huge-pages",
                title,
                "a part of a System V segment of huge pages, which cannot be attached in parts",
                "have the program detach it before the dump (shmdt)",
            );
            return Ok(None);
        }
        Ok(Some(Self {
            area: Area::of(vma),
            segment,
            offset: vma.offset,
        }))
    }

    fn area(&self) -> &Area {
        &self.area
    }

    fn plan(list: &[Self], layout: &mut Layout<'_>) -> Result<()> {
        let mut attachments: BTreeMap<_, Vec<&Self>> = BTreeMap::new();
        for mapping in list {
            let is_writable = mapping.area.is(vm_flag::MAY_WRITE);
            let start = mapping.area.start.wrapping_sub(mapping.offset);
            let key = (mapping.segment, start, is_writable);
            attachments.entry(key).or_default().push(mapping);
        }
        let segments = layout.segments;
        for ((id, start, is_writable), parts) in attachments {
            let (segment, aside) = segments.get(id)?;
            let length = segment.length();
            let is_executable = parts.iter().any(|part| part.area.is(vm_flag::EXEC));
            let attached = Attached::new(id, is_writable, is_executable);
            match parts[..] {
                [all] if all.offset == 0 && all.area.length == length => {
                    attached.attach(&all.area.what("attach"), start, layout);
                }
                _ => {
                    attached.attach("attach a System V segment aside", aside, layout);
                    for part in &parts {
                        part.duplicate(aside, layout);
                    }
                    let what = "detach the System V segment aside";
                    let detach = Call::new(what, libc::SYS_shmdt, [aside.into()]);
                    layout.call(STAGE, detach);
                }
            }
            for part in parts {
                attached.protect(&part.area, layout);
                part.area.advise(STAGE, layout);
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!(
            "{} segment {} at {:#x}",
            self.area.describe(),
            self.segment,
            self.offset
        )
    }
}

impl Attach {
    /// Maps the same pages where the program had them, from the segment that is attached at
    /// `aside`.
    fn duplicate(&self, aside: u64, layout: &mut Layout<'_>) {
        let area = &self.area;
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let args = [
            aside.wrapping_add(self.offset).into(),
            0.into(),
            area.length.into(),
            flags.into(),
            area.start.into(),
        ];
        let what = area.what("duplicate a part of a System V segment");
        let duplicate = Call::new(what, libc::SYS_mremap, args);
        layout.call(STAGE, duplicate.must_return(area.start));
    }
}

/// The way in which a segment is attached.
struct Attached {
    segment: i32,
    flags: i32,
    protection: i32,
}

impl Attached {
    fn new(segment: i32, is_writable: bool, is_executable: bool) -> Self {
        let (mut flags, mut protection) = (libc::SHM_RDONLY, libc::PROT_READ);
        if is_writable {
            (flags, protection) = (0, libc::PROT_READ | libc::PROT_WRITE);
        }
        if is_executable {
            flags |= libc::SHM_EXEC;
            protection |= libc::PROT_EXEC;
        }
        Self {
            segment,
            flags,
            protection,
        }
    }

    fn attach(&self, what: &str, at: u64, layout: &mut Layout<'_>) {
        let args = [self.segment.into(), at.into(), self.flags.into()];
        let attach = Call::new(what, libc::SYS_shmat, args);
        layout.call(STAGE, attach.must_return(at));
    }

    fn protect(&self, area: &Area, layout: &mut Layout<'_>) {
        if area.protection() != self.protection {
            let args = [
                area.start.into(),
                area.length.into(),
                area.protection().into(),
            ];
            let what = area.what("protect");
            layout.call(STAGE, Call::new(what, libc::SYS_mprotect, args));
        }
    }
}
