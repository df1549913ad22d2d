// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Captures the memory of a tree: mappings are read, told apart, and captured by their kinds.

use std::collections::BTreeMap;
use std::os::fd::AsFd;

use crust_model::refusal::Refusals;
use crust_model::{Error, Result, index};
use crust_proc::smaps::{self, Vma, vm_flag};
use crust_sys::RemoteAddr;
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::parallel;

use super::address_space::{self, AddressSpace};
use super::build_id::BuildIds;
use super::file_backed::Behind;
use super::mapped_file::{Looked, MappedFile, MappedFiles};
use super::vdso::{self, Vdso};
use super::{MappingRole, Mappings, aspect, policy, refused, shadow_stack};
use crate::capture::{Capture, DumpOptions};
use crate::kind::Kinds;
use crate::notes::Notes;
use crate::pathless::capture::Place;
use crate::pathless::{PathlessFiles, Unreachable};

/// A file that a process has mapped, or runs.
#[derive(Debug)]
pub enum Look {
    /// A file that can be found again by its path.
    Named(MappedFile),
    /// A file without a path, by its number among those.
    Pathless(u32),
}

/// A capture of one process's memory in progress.
pub struct MemoryCapture<'a> {
    kinds: Kinds,
    /// The process whose memory is captured.
    pub process: &'a FrozenProcess,
    /// The objects that cannot be carried over.
    pub refusals: &'a mut Refusals,
    /// The notes that kinds keep for themselves, about the whole tree.
    pub notes: &'a mut Notes,
    /// The shadow stack pointers of the threads.
    pub shadow_stacks: shadow_stack::Pointers,
    options: &'a DumpOptions,
    /// The text of `/proc/PID/numa_maps`; `None` if the kernel does not have it.
    pub numa_maps: Option<String>,
    files: MappedFiles,
    // Keyed by what `maps` shows of a file; `None` if it was refused.
    known: BTreeMap<(u64, u64, Vec<u8>), Option<Behind>>,
}

impl MemoryCapture<'_> {
    /// Returns the file behind a mapping, or `None` after a refusal.
    ///
    /// # Errors
    ///
    /// Returns errors of looking at the file in `/proc/PID/map_files`.
    pub fn file(&mut self, vma: &Vma, private: bool) -> Result<Option<Behind>> {
        let key = (vma.device, vma.inode, vma.name.clone());
        let behind = if let Some(behind) = self.known.get(&key) {
            *behind
        } else {
            let link = format!("map_files/{}", vma.entry());
            let behind = match self.look(&link, &vma.name)? {
                Ok(Look::Named(file)) => {
                    let place = index::number(self.files.files.len());
                    self.files.files.push((file, false));
                    Some(Behind::Named(place))
                }
                Ok(Look::Pathless(id)) => Some(Behind::Pathless(id)),
                Err(unreachable) => {
                    self.refusals.block(
                        self.process.pid,
                        unreachable.code,
                        vma.title(),
                        unreachable.why,
                        unreachable.remedy,
                    );
                    None
                }
            };
            self.known.insert(key, behind);
            behind
        };
        match behind {
            Some(Behind::Named(place)) => self.files.files[place as usize].1 |= private,
            Some(Behind::Pathless(id)) if private => {
                self.notes.of::<PathlessFiles>().is_private(id)
            }
            Some(Behind::Pathless(id)) if vma.is(vm_flag::MAY_WRITE) => {
                self.notes.of::<PathlessFiles>().is_written(id);
            }
            _ => {}
        }
        Ok(behind)
    }

    /// Returns the file that a link of the process leads to, by its path or without one.
    ///
    /// # Errors
    ///
    /// Returns errors of looking at the file.
    pub fn look(
        &mut self,
        link: &str,
        path: &[u8],
    ) -> Result<std::result::Result<Look, Unreachable>> {
        let there = match MappedFile::look(self.process, link, path)? {
            Looked::Named(file) => return Ok(Ok(Look::Named(file))),
            Looked::Unreachable(why) => return Ok(Err(why)),
            Looked::Pathless(there) => there,
        };
        let place = Place {
            process: self.process.id,
            pid: self.process.pid,
            proc: self.process.proc.as_fd(),
            link,
        };
        let identity = (there.st_dev, there.st_ino);
        let noted =
            self.notes
                .of::<PathlessFiles>()
                .note(self.kinds, &place, identity, self.options)?;
        Ok(noted.map(Look::Pathless))
    }

    /// Reads memory of the process.
    ///
    /// # Errors
    ///
    /// Returns errors of `process_vm_readv`.
    pub fn read_memory(&self, start: u64, bytes: &mut [u8]) -> Result<()> {
        let pid = self.process.task();
        crust_sys::memory::read(pid, RemoteAddr(start), bytes)
            .map_err(|errno| Error::task(pid, format!("read memory at {start:x}"), errno))
    }
}

/// Captures the memory of all processes, without its contents.
///
/// # Errors
///
/// Returns errors of `/proc` and of the hooks.
pub(super) fn capture(kinds: Kinds, capture: &mut Capture<'_>) -> Result<()> {
    let living = capture
        .tree
        .iter()
        .filter(|process| process.zombie.is_none());
    let living: Vec<&FrozenProcess> = living.collect();
    // The kernel walks every page for both files, so read them in parallel.
    let alone = living.len() == 1;
    let told = parallel::map(&living, 8, |process| {
        let vmas = || smaps::parse(&crust_proc::read(&process.proc, process.pid, "smaps")?);
        let policies = || policy::read(process);
        match alone {
            true => parallel::both(vmas, policies),
            false => (vmas(), policies()),
        }
    });
    for (process, (vmas, policies)) in living.into_iter().zip(told) {
        capture_process(kinds, process, vmas?, policies?, capture)?;
    }
    Ok(())
}

fn capture_process(
    kinds: Kinds,
    process: &FrozenProcess,
    mut vmas: Vec<Vma>,
    numa_maps: Option<String>,
    capture: &mut Capture<'_>,
) -> Result<()> {
    // Every process has this page at the same address, in the kernel's half.
    vmas.retain(|vma| vma.name != b"[vsyscall]");

    let mut found = MemoryCapture {
        kinds,
        process,
        refusals: &mut capture.refusals,
        notes: &mut capture.notes,
        shadow_stacks: shadow_stack::Pointers::of(process)?,
        options: capture.options,
        numa_maps,
        files: MappedFiles::default(),
        known: BTreeMap::new(),
    };
    let image = &mut capture.image;
    if let Some(space) = AddressSpace::of(&mut found, capture.hooks)? {
        image.add(process.id, space)?;
    }
    address_space::untold(&vmas, &mut found);
    aspect::capture(kinds, &vmas, &mut found, capture.hooks, image)?;

    let roles: Vec<&MappingRole> = kinds.of_role().map(|(_, role)| role).collect();
    let mut of_kind: Vec<Vec<Vma>> = roles.iter().map(|_| Vec::new()).collect();
    for vma in vmas {
        let kind = roles.iter().position(|role| (role.matches)(&vma));
        match (refused::why(&vma), kind) {
            (None, Some(kind)) => of_kind[kind].push(vma),
            (Some((why, remedy)), _) => {
                found.refusals.block(process.pid, "mapping-kind", vma.title(), why, remedy);
            }
            (None, None) => found.refusals.block(
                process.pid,
                "mapping-kind",
                vma.title(),
                "memory of a kind that crust does not know",
                "report it, with this message and the line of /proc/PID/smaps, as an issue of crust",
            ),
        }
    }
    for (role, vmas) in roles.iter().zip(&of_kind) {
        (role.capture)(vmas, &mut found, image)?;
    }
    found.shadow_stacks.refuse(process, found.refusals);
    let mut files = found.files;
    for (file, private) in &mut files.files {
        if *private {
            file.build_id = found
                .notes
                .of::<BuildIds>()
                .get(&file.path, file.identity());
        }
    }
    if let Some(Mappings(list)) = image.get(process.id) {
        let here = vdso::of_this_kernel()?;
        Vdso::moved_apart(list, here, process.pid, found.refusals);
    }
    match files.files.is_empty() {
        true => Ok(()),
        false => image.add(process.id, files),
    }
}
