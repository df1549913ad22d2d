// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Private memory as a `fork` passes it on: a range, and what backs it.
//!
//! What can be changed later (protection, advice, names) does not matter here; what only `mmap` can set does.

use std::ops::Range;

use crust_model::image::Image;
use crust_model::plan::ProcessId;
use crust_model::{Error, Result};
use crust_proc::smaps::vm_flag as t;

use super::Mappings;
use super::area::Area;
use super::file_backed::{Behind, PrivateFile};
use super::mapped_file::{MappedFile, MappedFiles};
use super::private_anonymous::PrivateAnonymous;

/// The flags of private memory that only `mmap` can set.
const FORM: u64 = t::GROWS_DOWN | t::NO_RESERVE;

/// The flags of memory that a fork does not pass on unchanged, or whose pages cannot be handled one
/// by one.
const APART: u64 = t::DONT_FORK | t::WIPE_ON_FORK | t::DROPPABLE | t::HUGETLB;

/// A mapping of private memory that a fork passes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkableRange {
    /// The address range.
    pub range: Range<u64>,
    form: u64,
    /// The file that backs the range, and the offset in it at which the range begins.
    file: Option<(MappedFile, u64)>,
}

impl ForkableRange {
    fn of(area: &Area, file: Option<(MappedFile, u64)>) -> Option<Self> {
        (!area.is_any(APART)).then(|| Self {
            range: area.range(),
            form: area.vm_flags & FORM,
            file,
        })
    }

    /// Returns whether this range and `other`, of another process, could be parts of one mapping.
    #[must_use]
    pub fn goes_with(&self, other: &Self) -> bool {
        let files = match (&self.file, &other.file) {
            (None, None) => true,
            (Some((file, offset)), Some((others, at))) => {
                // Both have the same part of the file at the same address.
                file == others
                    && offset.wrapping_sub(self.range.start) == at.wrapping_sub(other.range.start)
            }
            _ => false,
        };
        files && self.form == other.form
    }

    /// Enlarges the range as far as needed to include `range`.
    pub fn extend(&mut self, range: &Range<u64>) {
        if let Some((_, offset)) = &mut self.file {
            *offset -= self.range.start.saturating_sub(range.start);
        }
        self.range.start = self.range.start.min(range.start);
        self.range.end = self.range.end.max(range.end);
    }

    /// Returns the file that backs the range, and the offset in it at which the range begins.
    #[must_use]
    pub fn file(&self) -> Option<(&MappedFile, u64)> {
        self.file.as_ref().map(|(file, offset)| (file, *offset))
    }

    /// Returns the range as an area that can be mapped and filled.
    #[must_use]
    pub fn area(&self) -> Area {
        Area {
            start: self.range.start,
            length: self.range.end - self.range.start,
            vm_flags: self.form | t::READ | t::WRITE,
        }
    }
}

/// Returns the forkable ranges of a process, in order of address.
///
/// # Errors
///
/// Returns [`Error::Malformed`] if a mapping refers to a file that there is not.
pub fn forkable_ranges(image: &Image, process: ProcessId) -> Result<Vec<ForkableRange>> {
    let mut all = Vec::new();
    if let Some(Mappings(list)) = image.get::<Mappings<PrivateAnonymous>>(process) {
        let ranges = list.iter();
        all.extend(ranges.filter_map(|one| ForkableRange::of(&one.area, None)));
    }
    let files = image.get::<MappedFiles>(process);
    let files = files.map_or(&[][..], |files| &files.files);
    let of_files = image.get::<Mappings<PrivateFile>>(process);
    for mapping in of_files.iter().flat_map(|Mappings(list)| list) {
        // A file without a path does not exist yet when children are made.
        let Behind::Named(place) = mapping.file else {
            continue;
        };
        let Some((file, _)) = files.get(place as usize) else {
            return Err(Error::malformed(
                mapping.area.what("map"),
                format!("there is no mapped file {place}"),
            ));
        };
        let file = Some((file.clone(), mapping.offset));
        all.extend(ForkableRange::of(&mapping.area, file));
    }
    all.sort_unstable_by_key(|forkable| forkable.range.start);
    Ok(all)
}

/// Returns where two processes have forkable ranges that go together.
#[must_use]
pub fn common(ours: &[ForkableRange], theirs: &[ForkableRange]) -> Vec<Range<u64>> {
    let mut all = Vec::new();
    let mut from = 0;
    for forkable in ours {
        while theirs
            .get(from)
            .is_some_and(|other| other.range.end <= forkable.range.start)
        {
            from += 1;
        }
        for other in &theirs[from..] {
            if other.range.start >= forkable.range.end {
                break;
            }
            if forkable.goes_with(other) {
                let start = forkable.range.start.max(other.range.start);
                all.push(start..forkable.range.end.min(other.range.end));
            }
        }
    }
    all
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub fn anonymous(range: Range<u64>) -> ForkableRange {
        ForkableRange {
            range,
            form: 0,
            file: None,
        }
    }

    fn of_file(range: Range<u64>, offset: u64) -> ForkableRange {
        ForkableRange {
            file: Some((MappedFile::default(), offset)),
            ..anonymous(range)
        }
    }

    #[test]
    fn the_same_place_of_a_file_at_the_same_address() {
        let forkable = of_file(0x5000..0x8000, 0x1000);
        assert!(forkable.goes_with(&of_file(0x7000..0x9000, 0x3000)));
        assert!(!forkable.goes_with(&of_file(0x7000..0x9000, 0x1000)));
        assert!(!forkable.goes_with(&anonymous(0x5000..0x8000)));
        let mut larger = forkable;
        larger.extend(&(0x4000..0x9000));
        assert_eq!(larger.file().unwrap().1, 0);
        assert_eq!(larger.range, 0x4000..0x9000);
    }

    #[test]
    fn common_ranges() {
        let ours = [
            anonymous(0x1000..0x4000),
            of_file(0x4000..0x6000, 0),
            anonymous(0x8000..0x9000),
        ];
        let theirs = [
            anonymous(0x0000..0x2000),
            anonymous(0x3000..0x5000),
            anonymous(0x8000..0x9000),
        ];
        assert_eq!(
            common(&ours, &theirs),
            [0x1000..0x2000, 0x3000..0x4000, 0x8000..0x9000]
        );
    }
}
