// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The memory of a tree as it is found: mappings are read, told apart, and captured by their kinds.

use std::collections::BTreeMap;

use crust_sys::RemoteAddr;

use super::address_space::{self, AddressSpace};
use super::aspect;
use super::mapped_file::{MappedFile, MappedFiles};
use super::vdso::{self, Vdso};
use super::vma::{self, Vma};
use super::{KINDS, MappingKind, Mappings, policy, refused};
use crate::capture::Capture;
use crate::object::State;
use crate::refusal::Refusals;
use crate::subject::FrozenProcess;
use crate::{Error, Result, parallel, procfs};

/// A capture of one process's memory under way.
pub struct Found<'a> {
    /// The process.
    pub process: &'a FrozenProcess,
    /// What cannot be carried.
    pub refusals: &'a mut Refusals,
    /// `/proc/PID/numa_maps`; `None` if the kernel does not have it.
    pub numa_maps: Option<String>,
    files: MappedFiles,
    // By what `maps` says of a file; `None` was refused. The place in `files`.
    known: BTreeMap<(u64, u64, Vec<u8>), Option<u32>>,
}

impl Found<'_> {
    /// The place in [`MappedFiles`] of the file behind a mapping, or `None` after a refusal.
    ///
    /// # Errors
    ///
    /// Of looking at it in `/proc/PID/map_files`.
    pub fn file(&mut self, vma: &Vma, private: bool) -> Result<Option<u32>> {
        let key = (vma.device, vma.inode, vma.name.clone());
        let place = if let Some(place) = self.known.get(&key) {
            *place
        } else {
            let link = format!("map_files/{}", vma.entry());
            let place = match MappedFile::look(self.process, &link, &vma.name)? {
                Ok(file) => {
                    self.files.files.push((file, false));
                    Some(self.files.files.len() as u32 - 1)
                }
                Err(unreachable) => {
                    self.refusals.block(
                        self.process.pid,
                        vma.title(),
                        unreachable.why,
                        unreachable.remedy,
                    );
                    None
                }
            };
            self.known.insert(key, place);
            place
        };
        if let Some(place) = place {
            self.files.files[place as usize].1 |= private;
        }
        Ok(place)
    }

    /// Reads memory of the process.
    ///
    /// # Errors
    ///
    /// Of `process_vm_readv`.
    pub fn read_memory(&self, start: u64, bytes: &mut [u8]) -> Result<()> {
        let pid = self.process.pid;
        crust_sys::memory::read(pid, RemoteAddr(start), bytes)
            .map_err(|errno| Error::task(pid, format!("read memory at {start:x}"), errno))
    }
}

/// Captures the memory of all processes, without its contents.
///
/// # Errors
///
/// Of `/proc`, and of the hooks.
pub fn capture(capture: &mut Capture<'_>) -> Result<()> {
    let living = capture
        .tree
        .iter()
        .filter(|process| process.zombie.is_none());
    let living: Vec<&FrozenProcess> = living.collect();
    // The kernel looks at every page for both.
    let alone = living.len() == 1;
    let told = parallel::map(&living, 8, |process| {
        let vmas = || vma::parse(&procfs::read(&process.proc, process.pid, "smaps")?);
        let policies = || policy::read(process);
        match alone {
            true => parallel::both(vmas, policies),
            false => (vmas(), policies()),
        }
    });
    for (process, (vmas, policies)) in living.into_iter().zip(told) {
        capture_process(process, vmas?, policies?, capture)?;
    }
    Ok(())
}

fn capture_process(
    process: &FrozenProcess,
    mut vmas: Vec<Vma>,
    numa_maps: Option<String>,
    capture: &mut Capture<'_>,
) -> Result<()> {
    // Every process has this page at the same place, in the kernel's half.
    vmas.retain(|vma| vma.name != b"[vsyscall]");

    let mut found = Found {
        process,
        refusals: &mut capture.refusals,
        numa_maps,
        files: MappedFiles::default(),
        known: BTreeMap::new(),
    };
    let space = AddressSpace::capture(&mut found, capture.hooks)?;
    address_space::untold(&vmas, &mut found);
    let aspects = aspect::capture(&vmas, &mut found, capture.hooks)?;

    let mut of_kind: Vec<Vec<Vma>> = KINDS.iter().map(|_| Vec::new()).collect();
    for vma in vmas {
        let kind = KINDS.iter().position(|kind| (kind.matches)(&vma));
        match (refused::why(&vma), kind) {
            (None, Some(kind)) => of_kind[kind].push(vma),
            (Some((why, remedy)), _) => {
                found.refusals.block(process.pid, vma.title(), why, remedy);
            }
            (None, None) => found.refusals.block(
                process.pid,
                vma.title(),
                "memory of a kind that crust does not know",
                "report it with this message",
            ),
        }
    }
    let mut records = Vec::new();
    for (kind, vmas) in KINDS.iter().zip(&of_kind) {
        records.extend((kind.capture)(vmas, &mut found)?);
    }
    let files = found.files;
    for record in &records {
        if record.tag == Vdso::TAG {
            let list = Mappings::<Vdso>::from_record(record)?.0;
            let here = vdso::of_this_kernel()?;
            Vdso::moved_apart(&list, here, process.pid, &mut capture.refusals);
        }
    }
    if let Some(space) = space {
        capture.records.push(space.record(process.id.0, 0)?);
    }
    if !files.files.is_empty() {
        capture.records.push(files.record(process.id.0, 0)?);
    }
    capture.records.extend(aspects);
    capture.records.extend(records);
    Ok(())
}
