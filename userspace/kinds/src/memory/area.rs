// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The state that every mapping has, whatever backs it: its address range, its protection, and the
//! advice that was given for it.

use std::ops::Range;

use crust_model::plan::{Arg, Call, Data, Stage};
use crust_proc::smaps::{Vma, vm_flag as t};
use serde::{Deserialize, Serialize};

use super::layout::Layout;

/// The flags that an image keeps. The others follow from what is mapped, or are not carried over.
const KEPT: u64 = t::READ
    | t::WRITE
    | t::EXEC
    | t::MAY_WRITE
    | t::MAY_SHARE
    | t::GROWS_DOWN
    | t::LOCKED
    | t::LOCK_ON_FAULT
    | t::SEQUENTIAL
    | t::RANDOM
    | t::DONT_FORK
    | t::ACCOUNTED
    | t::NO_RESERVE
    | t::HUGETLB
    | t::WIPE_ON_FORK
    | t::DONT_DUMP
    | t::HUGE_PAGE
    | t::NO_HUGE_PAGE
    | t::MERGEABLE
    | t::DROPPABLE
    | t::SEALED;

/// The advice that `madvise` can give again, and the number by which it is given.
const ADVICE: &[(u64, i32)] = &[
    (t::SEQUENTIAL, libc::MADV_SEQUENTIAL),
    (t::RANDOM, libc::MADV_RANDOM),
    (t::DONT_FORK, libc::MADV_DONTFORK),
    (t::WIPE_ON_FORK, libc::MADV_WIPEONFORK),
    (t::DONT_DUMP, libc::MADV_DONTDUMP),
    (t::HUGE_PAGE, libc::MADV_HUGEPAGE),
    (t::NO_HUGE_PAGE, libc::MADV_NOHUGEPAGE),
];

/// Returns the `mmap` flags for huge pages of a size given as a power of two; 0 stands for the
/// usual size.
#[must_use]
pub fn huge_flags(huge: u8) -> i32 {
    match huge {
        0 => 0,
        huge => libc::MAP_HUGETLB | i32::from(huge) << libc::MAP_HUGE_SHIFT,
    }
}

/// A range of addresses with one protection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// The address of the first byte.
    pub start: u64,
    /// The length in bytes.
    pub length: u64,
    /// The flags: bits of [`vm_flag`](crust_proc::smaps::vm_flag).
    pub vm_flags: u64,
}

impl Area {
    /// Returns the part of a mapping's state that an image keeps.
    #[must_use]
    pub fn of(vma: &Vma) -> Self {
        Self {
            start: vma.range.start,
            length: vma.length(),
            vm_flags: vma.vm_flags & KEPT,
        }
    }

    /// Returns the address range of the mapping.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.start..self.start.saturating_add(self.length)
    }

    /// Returns whether all of these bits are set.
    #[must_use]
    pub fn is(&self, vm_flags: u64) -> bool {
        self.vm_flags & vm_flags == vm_flags
    }

    /// Returns whether any of these bits is set.
    #[must_use]
    pub fn is_any(&self, vm_flags: u64) -> bool {
        self.vm_flags & vm_flags != 0
    }

    /// Returns the protection as `PROT_*` bits.
    #[must_use]
    pub fn protection(&self) -> i32 {
        [
            (t::READ, libc::PROT_READ),
            (t::WRITE, libc::PROT_WRITE),
            (t::EXEC, libc::PROT_EXEC),
        ]
        .into_iter()
        .filter(|(bit, _)| self.is(*bit))
        .fold(0, |all, (_, protection)| all | protection)
    }

    /// Describes the range and its protection as `maps` does: `r-xp`.
    #[must_use]
    pub fn describe(&self) -> String {
        let letter = |bit, letter| if self.is(bit) { letter } else { '-' };
        format!(
            "{:x}-{:x} {}{}{}{}",
            self.start,
            self.range().end,
            letter(t::READ, 'r'),
            letter(t::WRITE, 'w'),
            letter(t::EXEC, 'x'),
            if self.is(t::MAY_SHARE) { 's' } else { 'p' },
        )
    }

    fn map_flags(&self) -> i32 {
        let sharing = if self.is(t::DROPPABLE) {
            libc::MAP_DROPPABLE
        } else if self.is(t::MAY_SHARE) {
            libc::MAP_SHARED
        } else {
            libc::MAP_PRIVATE
        };
        // Nothing should be mapped there. If the image says otherwise, the restore must fail rather
        // than replace one mapping by another.
        let mut flags = sharing | libc::MAP_FIXED_NOREPLACE;
        if self.is(t::GROWS_DOWN) {
            flags |= libc::MAP_GROWSDOWN;
        }
        if self.is(t::NO_RESERVE) {
            flags |= libc::MAP_NORESERVE;
        }
        flags
    }

    /// Maps the range in a way that lets the pages of the image be read into it, and gives the
    /// advice that matters for the pages to come.
    ///
    /// `source` is the file descriptor and the offset in the file; `None` for anonymous memory.
    pub fn map(&self, stage: Stage, layout: &mut Layout, source: Option<(Arg, u64)>) {
        if !layout.keeps(&self.range()) {
            let call = self.map_call(self.first_protection(layout), source);
            layout.call(stage, call);
        }
        self.advise(stage, layout);
    }

    /// Maps anonymous memory of huge pages, whose size is given as a power of two.
    pub fn map_huge(&self, stage: Stage, layout: &mut Layout, huge: u8) {
        let flags = libc::MAP_ANONYMOUS | huge_flags(huge);
        let call = self.mmap(self.first_protection(layout), flags, (Arg::from(-1), 0));
        layout.call(stage, call);
        self.advise(stage, layout);
    }

    /// Returns the call that maps the range.
    #[must_use]
    pub fn map_call(&self, protection: i32, source: Option<(Arg, u64)>) -> Call {
        match source {
            Some(source) => self.mmap(protection, 0, source),
            None => self.mmap(protection, libc::MAP_ANONYMOUS, (Arg::from(-1), 0)),
        }
    }

    fn mmap(&self, protection: i32, flags: i32, (fd, offset): (Arg, u64)) -> Call {
        let call = Call::new(
            self.what("map"),
            libc::SYS_mmap,
            [
                self.start.into(),
                self.length.into(),
                protection.into(),
                (self.map_flags() | flags).into(),
                fd,
                offset.into(),
            ],
        );
        call.must_return(self.start)
    }

    /// Gives the advice for an existing mapping.
    pub fn advise(&self, stage: Stage, layout: &mut Layout) {
        for (bit, advice) in ADVICE {
            // Droppable memory is inherently wiped on fork and left out of core dumps, and rejects
            // that advice.
            let inherent = t::WIPE_ON_FORK | t::DONT_DUMP;
            if self.is(*bit) && !(self.is(t::DROPPABLE) && bit & inherent != 0) {
                self.madvise(stage, layout, *advice);
            }
        }
    }

    fn madvise(&self, stage: Stage, layout: &mut Layout, advice: i32) {
        layout.call(stage, self.madvise_call(advice));
    }

    /// Returns the call that gives one piece of advice.
    #[must_use]
    pub fn madvise_call(&self, advice: i32) -> Call {
        Call::new(
            self.what("advise"),
            libc::SYS_madvise,
            [self.start.into(), self.length.into(), advice.into()],
        )
    }

    /// Returns the protection that the range is mapped with while pages are read into it.
    fn first_protection(&self, layout: &Layout) -> i32 {
        // Memory that was once writable, or was merged with such memory next to it, counts towards the overcommit limit
        // from then on (mm/mprotect.c:mprotect_fixup).
        let counts = self.is(t::ACCOUNTED) && !self.is_any(t::MAY_SHARE | t::NO_RESERVE);
        if layout.keeps(&self.range()) {
            libc::PROT_READ | libc::PROT_WRITE
        } else if counts {
            self.protection() | libc::PROT_READ | libc::PROT_WRITE
        } else if layout.fills(&self.range()) {
            self.protection() | libc::PROT_WRITE
        } else if self.protection() == libc::PROT_EXEC && self.is_keyed(layout) {
            // The kernel would give it the key of execute-only memory, and allocate one for that.
            libc::PROT_READ
        } else {
            self.protection()
        }
    }

    /// Returns whether the range gets its protection together with its protection key.
    fn is_keyed(&self, layout: &Layout) -> bool {
        layout.keyed.binary_search(&self.start).is_ok()
    }

    /// Names the mapping (`PR_SET_VMA_ANON_NAME`).
    pub fn name(&self, stage: Stage, layout: &mut Layout, name: &[u8]) {
        let call = Call::new(
            self.what("name"),
            libc::SYS_prctl,
            [
                libc::PR_SET_VMA.into(),
                Arg::Value(libc::PR_SET_VMA_ANON_NAME as u64),
                self.start.into(),
                self.length.into(),
                Data::string(name).into(),
            ],
        );
        layout.call(stage, call);
    }

    /// Sets the final protection once the pages are there, and what can only be set then.
    pub fn settle(&self, layout: &mut Layout) {
        let stage = Stage::SealMemory;
        if self.first_protection(layout) != self.protection() && !self.is_keyed(layout) {
            let call = Call::new(
                self.what("protect"),
                libc::SYS_mprotect,
                [
                    self.start.into(),
                    self.length.into(),
                    self.protection().into(),
                ],
            );
            layout.call(stage, call);
        }
        // Any earlier, merging would work against the reading of the pages.
        if self.is(t::MERGEABLE) {
            self.madvise(stage, layout, libc::MADV_MERGEABLE);
        }
    }

    /// Locks the range in memory. Guards must have been set before: a locked mapping takes none.
    pub fn lock(&self, layout: &mut Layout) {
        if let Some(call) = self.lock_call() {
            layout.call(Stage::SealMemory, call);
        }
    }

    /// Returns the call that locks the range, if it is locked.
    #[must_use]
    pub fn lock_call(&self) -> Option<Call> {
        if !self.is(t::LOCKED) {
            return None;
        }
        let mut call = Call::new(
            self.what("lock"),
            libc::SYS_mlock,
            [self.start.into(), self.length.into()],
        );
        if self.is(t::LOCK_ON_FAULT) {
            call.nr = libc::SYS_mlock2;
            call.args.push(Arg::Value(libc::MLOCK_ONFAULT.into()));
        } else if self.protection() & (libc::PROT_READ | libc::PROT_WRITE) == 0 {
            // The mapping gets locked, as after `mlockall`, but mlock complains (ENOMEM) that there
            // is nothing it may fault in.
            call = call.may_fail();
        }
        Some(call)
    }

    /// Forbids every change to the mapping, permanently.
    pub fn seal(&self, layout: &mut Layout) {
        if self.is(t::SEALED) {
            let call = Call::new(
                self.what("seal"),
                libc::SYS_mseal,
                [self.start.into(), self.length.into(), 0.into()],
            );
            layout.call(Stage::SealMemory, call);
        }
    }

    /// Returns a title for an operation, for errors and for people who read the plan.
    #[must_use]
    pub fn what(&self, operation: &str) -> String {
        format!(
            "memory {:x}-{:x}: {operation}",
            self.start,
            self.range().end
        )
    }
}
