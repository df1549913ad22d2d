// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The vDSO: kernel code mapped into the program, and the data (`[vvar]`) that it reads.
//!
//! The program knows its addresses from the auxiliary vector and from the functions it resolved at startup, so they
//! must stay. The mappings of the new process are moved there, with the distances between them kept, because the code
//! finds its data relative to itself. Their contents are those of the running kernel. Another kernel's code would have
//! its functions elsewhere, so a restore on a kernel whose vDSO differs is refused.

use std::sync::OnceLock;

use crust_arch::vdso;
use crust_model::plan::{Call, Stage, Step, scratch};
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};
use crust_proc::smaps::{self, Vma, vm_flag};
use crust_sys::{RemoteAddr, word};
use serde::{Deserialize, Serialize};

use super::area::Area;
use super::layout::Layout;
use super::{Content, MappingKind, MemoryCapture};
use crate::conflicts::Conflicts;
use crate::kind::Kinds;
use crate::memory::Mappings;
use crate::task::tree;

/// One of the mappings of the vDSO.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vdso {
    /// The address range of the mapping.
    pub area: Area,
    /// The name: `[vdso]`, `[vvar]` or `[vvar_vclock]`.
    pub name: Vec<u8>,
    /// The [checksum](crust_image::pages::checksum) of the image; 0 for data.
    pub checksum: u64,
    /// The bytes after the image, if not all are zero: the code of a crust that was killed while the program made a
    /// call for it ([`CodeCave`](crust_tracee::remote::CodeCave)). The program may still be about to return there,
    /// below a signal handler.
    pub left: Vec<u8>,
}

impl MappingKind for Vdso {
    const TAG: u16 = 0x0214;
    const NAME: &'static str = "vDSO";
    const SUPPORT: &'static str =
        "Stays at its address; the kernel of the restore must have the same.";
    const CONTENT: Content = Content::Elsewhere;

    fn matches(vma: &Vma) -> bool {
        is_part(vma)
    }

    fn capture(vma: &Vma, found: &mut MemoryCapture<'_>) -> Result<Option<Self>> {
        let mut bytes = Vec::new();
        if vma.name == b"[vdso]" {
            bytes = vec![0; word::to_size(vma.length())];
            found.read_memory(vma.range.start, &mut bytes)?;
        }
        Ok(Some(Self::of(vma, &bytes)))
    }

    fn area(&self) -> &Area {
        &self.area
    }

    fn plan(list: &[Self], layout: &mut Layout<'_>) -> Result<()> {
        let Some(lowest) = list.iter().map(|part| part.area.start).min() else {
            return Ok(());
        };
        let park = layout.park();
        for part in list {
            let area = &part.area;
            let from = park.start + (area.start - lowest);
            if from.saturating_add(area.length) > park.end {
                return Err(Error::malformed(
                    area.what("move the vDSO"),
                    format!("its parts take more than {} bytes", scratch::PARK_SIZE),
                ));
            }
            let call = Call::new(
                format!(
                    "move {} to {:x}",
                    String::from_utf8_lossy(&part.name),
                    area.start
                ),
                libc::SYS_mremap,
                [
                    from.into(),
                    area.length.into(),
                    area.length.into(),
                    (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).into(),
                    area.start.into(),
                ],
            );
            layout.call(Stage::MapMemory, call.must_return(area.start));
            if !part.left.is_empty() {
                let write = Step::Write {
                    label: "what was left behind the vDSO".into(),
                    address: RemoteAddr(area.start + area.length - part.left.len() as u64),
                    bytes: part.left.clone(),
                };
                layout.step(Stage::MapMemory, write);
            }
        }
        Ok(())
    }

    fn describe(&self) -> String {
        format!(
            "{} {} {:016x}",
            self.area.describe(),
            String::from_utf8_lossy(&self.name),
            self.checksum
        )
    }

    fn conflicts(_: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        let here = of_this_kernel()?;
        for (owner, Mappings(list)) in cx.image.all() {
            let pid = tree::number(cx.image, owner.task());
            Self::check(list, here, pid, &mut cx.refusals);
        }
        Ok(())
    }
}

impl Vdso {
    fn of(vma: &Vma, bytes: &[u8]) -> Self {
        let end = vdso::image_length(bytes)
            .map_or(bytes.len(), |end| bytes.len().min(word::to_size(end)));
        let (image, rest) = bytes.split_at(end);
        Self {
            area: Area {
                vm_flags: vma.vm_flags & (vm_flag::READ | vm_flag::EXEC),
                ..Area::of(vma)
            },
            name: vma.name.clone(),
            checksum: if image.is_empty() {
                0
            } else {
                crust_image::pages::checksum(image)
            },
            left: if rest.iter().any(|&byte| byte != 0) {
                rest.to_vec()
            } else {
                Vec::new()
            },
        }
    }

    /// Returns what two vDSOs must have in common to be interchangeable.
    fn shape(list: &[Self]) -> Vec<(&[u8], u64, u64, u64)> {
        let lowest = list.iter().map(|part| part.area.start).min().unwrap_or(0);
        list.iter()
            .map(|part| {
                let distance = part.area.start - lowest;
                (&*part.name, distance, part.area.length, part.checksum)
            })
            .collect()
    }

    /// Notes if a process had a vDSO other than this kernel's.
    fn check(list: &[Self], here: &[Self], task: i32, refusals: &mut Refusals) {
        if !list.is_empty() && Self::shape(list) != Self::shape(here) {
            refusals.block(
                task,
                "vdso-other",
                "vDSO",
                "this kernel has another vDSO than that of the dump, with its functions elsewhere",
                "restore it on the kernel on which it was dumped",
            );
        }
    }

    /// Notes if a process has moved one part of its vDSO but not the others.
    pub fn moved_apart(list: &[Self], here: &[Self], task: i32, refusals: &mut Refusals) {
        if !list.is_empty() && Self::shape(list) != Self::shape(here) {
            refusals.block(
                task,
                "vdso-changed",
                "vDSO",
                "the program has changed or taken apart its vDSO",
                "run the program without what changes its vDSO, such as a tracer",
            );
        }
    }
}

/// Returns whether a mapping is a part of the vDSO.
#[must_use]
pub fn is_part(vma: &Vma) -> bool {
    vma.inode == 0 && (vma.name == b"[vdso]" || vma.name.starts_with(b"[vvar"))
}

/// Returns the vDSO of the running kernel, which is that of crust itself.
///
/// # Errors
///
/// Returns [`Error::System`] if `/proc/self` cannot be read.
pub fn of_this_kernel() -> Result<&'static [Vdso]> {
    use std::os::unix::fs::FileExt;
    static HERE: OnceLock<Vec<Vdso>> = OnceLock::new();
    if let Some(here) = HERE.get() {
        return Ok(here);
    }
    let failed =
        |operation: &'static str| move |error: std::io::Error| Error::from_io(operation, &error);
    // `maps` shows no flags, but these are not compared, and it is cheap to read.
    let maps = std::fs::read("/proc/self/maps").map_err(failed("read /proc/self/maps"))?;
    let memory = std::fs::File::open("/proc/self/mem").map_err(failed("open /proc/self/mem"))?;
    let mut parts = Vec::new();
    for vma in smaps::parse(&maps)?.iter().filter(|vma| is_part(vma)) {
        let mut bytes = Vec::new();
        if vma.name == b"[vdso]" {
            bytes = vec![0; word::to_size(vma.length())];
            memory
                .read_exact_at(&mut bytes, vma.range.start)
                .map_err(failed("read the vDSO"))?;
        }
        parts.push(Vdso::of(vma, &bytes));
    }
    Ok(HERE.get_or_init(|| parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_kernel_has_the_same_and_another_has_not() {
        let here = of_this_kernel().unwrap();
        assert!(here.iter().any(|part| part.checksum != 0));
        let mut there = here.to_vec();
        for part in &mut there {
            part.area.start += 0x10_0000;
        }
        let mut refusals = Refusals::default();
        Vdso::check(&there, here, 1, &mut refusals);
        assert!(!refusals.forbid());
        there.last_mut().unwrap().checksum ^= 1;
        Vdso::check(&there, here, 1, &mut refusals);
        assert!(refusals.forbid());
    }

    #[test]
    fn what_is_behind_the_image_is_no_part_of_it() {
        let vma = Vma {
            name: b"[vdso]".to_vec(),
            ..Vma::default()
        };
        // This is an image of 0x90 bytes: its header, and one segment.
        let mut bytes = vec![0; 4096];
        bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        for (at, value) in [(32, 0x40), (54, 56), (56, 1), (0x40, 1), (0x60, 0x8e)] {
            bytes[at] = value;
        }
        assert_eq!(vdso::image_length(&bytes), Some(0x90));
        let clean = Vdso::of(&vma, &bytes);
        assert!(clean.left.is_empty());
        bytes[0x100] = 7;
        let left = Vdso::of(&vma, &bytes);
        assert_eq!(left.checksum, clean.checksum);
        assert_eq!((left.left.len(), left.left[0x70]), (4096 - 0x90, 7));
        bytes[0x8f] = 7;
        assert_ne!(Vdso::of(&vma, &bytes).checksum, clean.checksum);
        assert_eq!(vdso::image_length(&bytes[..0x50]), None);
    }
}
