// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Shared anonymous memory: what a program maps with `MAP_SHARED | MAP_ANONYMOUS` and its children
//! inherit.
//!
//! It is backed by an object in a file system without a name (`mm/shmem.c:shmem_zero_setup`), which
//! `/proc/PID/maps` shows as `/dev/zero (deleted)`; its inode tells which processes share it. The
//! contents are read from the object, once, and not through the page tables: pages that no process
//! has touched since a `fork` are in none.
//!
//! A restore maps the whole object once, at addresses that no process of the image uses, in the
//! first process that has a part of it. That process then duplicates the parts that it had
//! (`mremap` with an old size of zero); the other processes open the object through
//! `/proc/PID/map_files`. Once the object has been filled, the first mapping is unmapped.

use std::collections::BTreeMap;
use std::ops::Range;

use crust_model::plan::{Arg, Call, Data, ProcessId, Stage, reserved};
use crust_model::{Error, Result};
use crust_proc::smaps::{Vma, vm_flag};
use serde::{Deserialize, Serialize};

use super::area::{Area, huge_flags};
use super::layout::Layout;
use super::{Content, MappingKind, MemoryCapture, huge_anonymous};
use crate::memory::pages::SharedMemory;
use crate::ranges::holes::Holes;

/// A mapping of shared anonymous memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedAnonymous {
    /// The address range, protection and advice of the mapping.
    pub area: Area,
    /// The object, by its inode.
    pub object: u64,
    /// The size of the pages as a power of two if they are huge; otherwise 0.
    #[serde(deserialize_with = "crate::contents::huge_shift")]
    pub huge: u8,
    /// The offset in the object at which the mapping begins, in bytes.
    pub offset: u64,
    /// The name of the mapping (`PR_SET_VMA_ANON_NAME`).
    pub name: Option<Vec<u8>>,
}

impl MappingKind for SharedAnonymous {
    const TAG: u16 = 0x0213;
    const VERSION: u16 = 2;
    const NAME: &'static str = "shared anonymous memory";
    const SUPPORT: &'static str = "Contents, once, and who shares it. Also of huge pages.";
    const CONTENT: Content = Content::Object;

    fn matches(vma: &Vma) -> bool {
        vma.is(vm_flag::MAY_SHARE)
            && (vma.name == b"/dev/zero (deleted)"
                || vma.name == huge_anonymous::NAME
                || vma.name.starts_with(b"[anon_shmem:"))
    }

    fn capture(vma: &Vma, _found: &mut MemoryCapture<'_>) -> Result<Option<Self>> {
        Ok(Some(Self {
            area: Area::of(vma),
            object: vma.inode,
            huge: vma.huge,
            offset: vma.offset,
            name: vma.given_name(b"[anon_shmem:"),
        }))
    }

    fn area(&self) -> &Area {
        &self.area
    }

    fn plan(list: &[Self], layout: &mut Layout<'_>) -> Result<()> {
        let objects = layout.objects;
        for ((huge, inode), object) in &objects.0 {
            if object.owner == layout.task.process {
                object.make(*inode, *huge, layout);
            }
        }
        let mut opened = BTreeMap::new();
        for mapping in list {
            let key = (mapping.huge, mapping.object);
            let Some(object) = objects.0.get(&key) else {
                return Err(Error::malformed(
                    mapping.area.what("map"),
                    format!("there is no shared memory {}", mapping.object),
                ));
            };
            // The kernel does not duplicate mappings of huge pages.
            if object.owner == layout.task.process && mapping.huge == 0 {
                mapping.duplicate(object, layout);
            } else {
                let fd = *opened
                    .entry(key)
                    .or_insert_with(|| object.open(mapping.object, layout));
                let source = Some((Arg::from(fd), mapping.offset));
                mapping.area.map(Stage::ShareMemory, layout, source);
            }
            if let Some(name) = &mapping.name {
                mapping.area.name(Stage::ShareMemory, layout, name);
            }
        }
        for fd in opened.into_values() {
            let close = Call::new("close shared memory", libc::SYS_close, [fd.into()]);
            layout.call(Stage::ShareMemory, close);
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!(
            "{} object {} at {:#x}",
            self.area.describe(),
            self.object,
            self.offset
        )
    }
}

impl SharedAnonymous {
    /// Maps the same pages once more, where the program had them.
    fn duplicate(&self, object: &Object, layout: &mut Layout<'_>) {
        let area = &self.area;
        let from = object.at.start + self.offset;
        let call = Call::new(
            area.what("duplicate shared memory"),
            libc::SYS_mremap,
            [
                from.into(),
                0.into(),
                area.length.into(),
                (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).into(),
                area.start.into(),
            ],
        );
        layout.call(Stage::ShareMemory, call.must_return(area.start));
        if area.protection() != libc::PROT_READ | libc::PROT_WRITE {
            let call = Call::new(
                area.what("protect"),
                libc::SYS_mprotect,
                [
                    area.start.into(),
                    area.length.into(),
                    area.protection().into(),
                ],
            );
            layout.call(Stage::ShareMemory, call);
        }
        area.advise(Stage::ShareMemory, layout);
    }
}

/// An object of shared memory while it is restored.
#[derive(Debug)]
pub struct Object {
    /// The process that makes the object.
    pub owner: ProcessId,
    /// The pid of the owner.
    pub pid: i32,
    /// The range where the owner has all of it mapped until it is filled.
    pub at: Range<u64>,
    /// Whether it was made with `MAP_NORESERVE`.
    pub no_reserve: bool,
}

/// The objects of an image, keyed by page size and inode: those with huge pages are in another file system.
#[derive(Debug, Default)]
pub struct Objects(BTreeMap<(u8, u64), Object>);

impl Objects {
    /// Adds an object and finds an address range for it.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Malformed`] if there is no room.
    pub fn add(
        &mut self,
        memory: &SharedMemory,
        owner: ProcessId,
        pid: i32,
        holes: &mut Holes,
    ) -> Result<Range<u64>> {
        let object = || format!("shared memory {}", memory.inode);
        let page = 1_u64.checked_shl(memory.huge.into()).unwrap_or(0);
        let start = holes.take_aligned(memory.size, page).ok_or_else(|| {
            Error::malformed(
                object(),
                format!("there is no room for {} bytes", memory.size),
            )
        })?;
        let at = start..start + memory.size;
        let added = Object {
            owner,
            pid,
            at: at.clone(),
            no_reserve: memory.no_reserve,
        };
        let key = (memory.huge, memory.inode);
        if self.0.insert(key, added).is_some() {
            return Err(Error::malformed(object(), "is there twice"));
        }
        Ok(at)
    }

    /// Unmaps the whole objects that a process made, once all are filled.
    pub fn release(&self, layout: &mut Layout<'_>) {
        for object in self.0.values() {
            if object.owner == layout.task.process {
                let call = Call::new(
                    "unmap shared memory where it was made",
                    libc::SYS_munmap,
                    [object.at.start.into(), object.length().into()],
                );
                layout.call(Stage::SealMemory, call);
            }
        }
    }
}

impl Object {
    fn length(&self) -> u64 {
        self.at.end - self.at.start
    }

    fn make(&self, inode: u64, huge: u8, layout: &mut Layout<'_>) {
        let mut flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        flags |= huge_flags(huge);
        if self.no_reserve {
            flags |= libc::MAP_NORESERVE;
        }
        let call = Call::new(
            format!("make shared memory {inode}"),
            libc::SYS_mmap,
            [
                self.at.start.into(),
                self.length().into(),
                (libc::PROT_READ | libc::PROT_WRITE).into(),
                flags.into(),
                Arg::from(-1),
                0.into(),
            ],
        );
        layout.call(Stage::MapMemory, call.must_return(self.at.start));
    }

    fn open(&self, inode: u64, layout: &mut Layout<'_>) -> crust_model::plan::CallRef {
        let path = format!(
            "{}/map_files/{:x}-{:x}",
            self.pid, self.at.start, self.at.end
        );
        let call = Call::new(
            format!("open shared memory {inode}"),
            libc::SYS_openat,
            [
                layout.reserved(reserved::PROC).into(),
                Data::string(path).into(),
                (libc::O_RDWR | libc::O_CLOEXEC).into(),
                0.into(),
            ],
        );
        layout.call(Stage::ShareMemory, call)
    }
}
