// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The contents of all memory of a tree at one moment.
//!
//! Each process that is to continue meanwhile is copied by a fork ([`CowCopy`]). If it has much memory, the copy writes
//! it itself ([`ForkWriter`]), which is half the work for the kernel. The pages of processes that stay frozen are read
//! by one thread while another one writes; only if one processor has to do both is a copy that writes faster here too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crust_image::Writer;
use crust_model::image::{Image, Owned};
use crust_model::observer::{Observer, Point};
use crust_model::plan::ProcessId;
use crust_model::{Error, Result, index};
use crust_proc::smaps::vm_flag;
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::interrupt::Interrupts;
use crust_tracee::parallel;
use nix::errno::Errno;

use super::copy::{self, Job, Source};
use super::cow::CowCopy;
use super::fork_writer::{self, ForkWriter};
use super::shared_pages::{self, Holder};
use super::{PageJob, Runs, SharedMemory, StoredPages, scan, shared_objects};
use crate::capture::{Captured, DumpOptions};
use crate::kind::Kinds;
use crate::memory::{self, Content, forkable_range};
use crate::task::settings::Settings;

/// Memory that was captured, and is yet to be written.
pub struct Snapshot<'a> {
    options: &'a DumpOptions,
    interrupts: &'a Interrupts,
    /// The objects that tell where all pages will be.
    pages: Vec<Owned>,
    /// The jobs that copies write themselves.
    scribes: Vec<(ForkWriter, Arc<Source>, Vec<Job>)>,
    /// The jobs that crust reads.
    jobs: Vec<Job>,
    /// The copies, which live as long as they are needed.
    copies: Vec<CowCopy>,
}

/// A stretch of pages of one source.
struct Part {
    job: Job,
    /// The process, if a fork of it would have the same pages.
    forked: Option<u32>,
}

impl<'a> Snapshot<'a> {
    /// Takes a snapshot of a frozen tree. `captured` has what was captured of the processes of `tree`.
    ///
    /// With `leave_running`, what a fork would not copy (shared memory, `MADV_DONTFORK`, `MADV_WIPEONFORK`) is written
    /// to the image right away, and the tree may continue when this returns. Where a process may not fork, all of its
    /// memory is written right away, and a warning says so.
    ///
    /// # Errors
    ///
    /// Returns an error if a process dies, the image cannot be written, or the user or the
    /// observer asks to end.
    pub fn take(
        kinds: Kinds,
        captured: &mut Captured,
        tree: &[FrozenProcess],
        image: &mut Writer,
        options: &'a DumpOptions,
        interrupts: &'a Interrupts,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let jobs = std::mem::take(&mut captured.jobs);
        let captured = &captured.image;
        let (written, parts) = gather(kinds, captured, tree, jobs, image)?;
        let mut snapshot = Self {
            options,
            interrupts,
            pages: written,
            scribes: Vec::new(),
            jobs: Vec::new(),
            copies: Vec::new(),
        };
        let orphans = !has_subreaper(captured);
        let scribes = !options.checksum && (options.leave_running || parallel::processors() == 1);
        let end = image.pages_end();
        let mut of_forks: BTreeMap<u32, Vec<Job>> = BTreeMap::new();
        for part in parts {
            match part.forked {
                Some(process) => of_forks.entry(process).or_default().push(part.job),
                None => snapshot.jobs.push(part.job),
            }
        }
        for (process, jobs) in of_forks {
            let process = &tree[process as usize];
            let bytes: u64 = jobs.iter().map(|job| job.runs.bytes()).sum();
            let writer = scribes && bytes >= fork_writer::WORTH;
            if !writer && !options.leave_running {
                snapshot.jobs.extend(jobs);
                continue;
            }
            match copy_of(process, orphans)? {
                Some(copy) => snapshot.assign(copy, process, jobs, writer.then_some(end), image)?,
                None => {
                    if options.leave_running {
                        tracing::warn!(process.pid, "no copy of it: it is stopped for longer");
                    }
                    snapshot.jobs.extend(jobs);
                }
            }
        }
        if options.leave_running {
            let of_copies = |job: &Job| matches!(*job.source, Source::Copy(..));
            let (later, now) = std::mem::take(&mut snapshot.jobs)
                .into_iter()
                .partition(of_copies);
            snapshot.jobs = now;
            snapshot.read(image, observer)?;
            snapshot.jobs = later;
        }
        Ok(snapshot)
    }

    /// Arranges for pages to be read from a copy, or written by it, up to byte `end` of the image.
    fn assign(
        &mut self,
        copy: CowCopy,
        process: &FrozenProcess,
        jobs: Vec<Job>,
        end: Option<u64>,
        image: &Writer,
    ) -> Result<()> {
        let source = Arc::new(copy.source()?);
        let writer = match end {
            Some(end) => ForkWriter::new(&copy, process, image.file(), end)?,
            None => None,
        };
        match writer {
            Some(writer) => self.scribes.push((writer, source, jobs)),
            // A copy is read more slowly than a frozen process.
            None if !self.options.leave_running => {
                self.jobs.extend(jobs);
                return Ok(());
            }
            None => self
                .jobs
                .extend(jobs.into_iter().map(|job| job.from(&source))),
        }
        self.copies.push(copy);
        Ok(())
    }

    /// Writes what is left, and adds the objects that tell where the pages are to `captured`.
    ///
    /// # Errors
    ///
    /// Returns an error if the image cannot be written, or the user or the
    /// observer asks to end.
    pub fn write(
        mut self,
        captured: &mut Image,
        image: &mut Writer,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let jobs = self.scribes.iter().flat_map(|(.., jobs)| jobs);
        let total = jobs.map(|job| job.runs.bytes()).sum();
        let mut done = 0;
        for (writer, source, jobs) in std::mem::take(&mut self.scribes) {
            for job in jobs {
                let left = writer.write(&job.runs, job.offset, |bytes| {
                    done += bytes;
                    observer.ask(&Point::Memory { done, total })?;
                    self.interrupts.check()
                })?;
                for (runs, offset) in left {
                    self.jobs.push(Job::new(Arc::clone(&source), runs, offset));
                }
            }
        }
        self.read(image, observer)?;
        drop(self.copies);
        let mut pages = self.pages.into_iter();
        pages.try_for_each(|pages| captured.insert(pages))
    }

    /// Copies the pages that crust reads.
    fn read(&self, image: &mut Writer, observer: &mut dyn Observer) -> Result<()> {
        let total = self.jobs.iter().map(|job| job.runs.bytes()).sum();
        let sums = copy::copy(
            &self.jobs,
            image.file(),
            self.options.checksum,
            &mut |done| {
                observer.ask(&Point::Memory { done, total })?;
                self.interrupts.check()
            },
        )?;
        for (offset, length, checksum) in sums {
            image.sum_pages(offset, length, checksum);
        }
        Ok(())
    }
}

/// Returns a copy of a process, or none if it may not have one.
fn copy_of(process: &FrozenProcess, orphans: bool) -> Result<Option<CowCopy>> {
    match CowCopy::of(process, orphans) {
        Err(Error::Task {
            errno: Errno::EAGAIN | Errno::ENOMEM | Errno::ENOSPC | Errno::EPERM,
            task,
            operation,
        }) => {
            tracing::info!(task, operation, "cannot fork");
            Ok(None)
        }
        result => result,
    }
}

/// Returns what has to be copied, with its place in the image, and the objects that tell of it.
fn gather(
    kinds: Kinds,
    captured: &Image,
    tree: &[FrozenProcess],
    taken: Vec<PageJob>,
    image: &mut Writer,
) -> Result<(Vec<Owned>, Vec<Part>)> {
    let mut parts = Vec::new();
    let mut written = Vec::new();
    for (memory, owner, file) in shared_objects(captured, tree)? {
        let offset = image.reserve_pages(memory.runs.bytes());
        let memory = SharedMemory { offset, ..memory };
        let job = Job::new(Arc::new(Source::File(file)), memory.runs.clone(), offset);
        let part = index::number(written.len());
        written.push(Owned::new((owner, part), memory));
        parts.push(Part { job, forked: None });
    }
    for PageJob { file, runs, object } in taken {
        let offset = image.reserve_pages(runs.bytes());
        written.push(object(offset));
        parts.push(Part {
            job: Job::new(Arc::new(Source::File(file)), runs, offset),
            forked: None,
        });
    }
    let mut never_forked = BTreeSet::new();
    let mut holders = Vec::new();
    let mut rest = Vec::new();
    for process in tree.iter().filter(|process| process.zombie.is_none()) {
        let areas = memory::contents(kinds, captured, process.id);
        let (pages, guards) = scan::private_pages(process, &areas)?;
        holders.push(Holder {
            process,
            forkable_ranges: forkable_range::forkable_ranges(captured, process.id)?,
            pages,
        });
        let mut not_forked: Vec<_> = areas
            .iter()
            .filter(|(area, _)| area.is_any(vm_flag::DONT_FORK | vm_flag::WIPE_ON_FORK))
            .map(|(area, _)| area.range())
            .collect();
        // The kernel may have no huge page left for what a process writes after a fork.
        let has_huge = areas.iter().any(|(area, content)| {
            area.is(vm_flag::HUGETLB) && matches!(content, Content::Private | Content::Written)
        });
        if has_huge {
            not_forked.clear();
            not_forked.push(0..u64::MAX);
            never_forked.insert(process.id);
        }
        rest.push((guards, not_forked, Arc::new(Source::task(process)?)));
    }
    let heritages = shared_pages::find(&holders)?;
    let sources: BTreeMap<ProcessId, Arc<Source>> = holders
        .iter()
        .zip(&rest)
        .map(|(holder, (.., source))| (holder.process.id, Arc::clone(source)))
        .collect();
    for ((holder, shared), (guards, not_forked, source)) in
        holders.into_iter().zip(heritages).zip(rest)
    {
        let runs = holder.pages.without(&shared.inherited);
        let mut held_for_children = Runs::default();
        for (range, _) in &shared.held_for_children {
            held_for_children.push(range.clone());
        }
        let pages = StoredPages {
            offset: image.reserve_pages(runs.bytes() + held_for_children.bytes()),
            runs,
            guards,
            inherited: shared.inherited,
            held_for_children,
        };
        let owner = holder.process.id.0;
        for (before, excepted, runs) in pages.runs.split(&not_forked) {
            parts.push(Part {
                job: Job::new(Arc::clone(&source), runs, pages.offset + before),
                forked: (!excepted).then_some(owner),
            });
        }
        let mut offset = pages.held_at();
        for (range, child) in shared.held_for_children {
            let mut runs = Runs::default();
            runs.push(range);
            let length = runs.bytes();
            parts.push(Part {
                job: Job::new(Arc::clone(&sources[&child]), runs, offset),
                forked: (!never_forked.contains(&child)).then_some(child.0),
            });
            offset += length;
        }
        written.push(Owned::new(holder.process.id, pages));
    }
    Ok((written, parts))
}

/// Returns whether a process of the tree adopts orphans, and would find one that it does not know
/// of.
fn has_subreaper(captured: &Image) -> bool {
    let mut all = captured.all::<Settings>();
    all.any(|(_, settings)| settings.subreaper)
}
