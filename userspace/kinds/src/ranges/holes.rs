// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Address ranges that no process of the image uses.

use std::ops::Range;

// Below LOWEST are programs linked to a fixed address and what they map nearby; above HIGHEST, some terabytes short of
// 47 bits, are stacks, libraries and the vDSO, those of the blank too.
const LOWEST: u64 = 64 << 30;
const HIGHEST: u64 = 0x5000_0000_0000;
// Everything that a process may use of 47 bits; the lowest addresses are off limits (vm.mmap_min_addr). If the blank
// happens to have something there, it is made again.
const EVERYWHERE: Range<u64> = 2 << 20..(1 << 47) - (2 << 20);
const ALIGNMENT: u64 = 2 << 20;

/// The size up to which a hole is nearly always found.
pub const LARGEST: u64 = 32 << 40;

/// The address ranges that are free in every address space of an image.
#[derive(Debug, Default)]
pub struct Holes {
    // Sorted and not overlapping.
    used: Vec<Range<u64>>,
}

impl Holes {
    /// Finds the holes between these ranges.
    pub fn between(ranges: impl IntoIterator<Item = Range<u64>>) -> Self {
        let mut all: Vec<_> = ranges.into_iter().collect();
        all.sort_unstable_by_key(|range| range.start);
        let mut used: Vec<Range<u64>> = Vec::new();
        for range in all {
            match used.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => used.push(range),
            }
        }
        Self { used }
    }

    /// Takes a hole of that size, if there is one; the next call returns another.
    pub fn take(&mut self, size: u64) -> Option<u64> {
        self.take_aligned(size, ALIGNMENT)
    }

    /// Takes a hole with a larger alignment, as for huge pages; `alignment` is a power of two.
    pub fn take_aligned(&mut self, size: u64, alignment: u64) -> Option<u64> {
        let alignment = alignment.max(ALIGNMENT);
        self.take_within(LOWEST..HIGHEST, size, alignment)
            .or_else(|| self.take_within(EVERYWHERE, size, alignment))
    }

    /// Takes the lowest hole within `bounds`.
    fn take_within(&mut self, bounds: Range<u64>, size: u64, alignment: u64) -> Option<u64> {
        let mut start = bounds.start.checked_next_multiple_of(alignment)?;
        let mut index = 0;
        for (at, range) in self.used.iter().enumerate() {
            if range.end <= start {
                index = at + 1;
                continue;
            }
            if range.start >= start.checked_add(size)? {
                break;
            }
            start = range.end.checked_next_multiple_of(alignment)?;
            index = at + 1;
        }
        let end = start.checked_add(size)?;
        if end > bounds.end {
            return None;
        }
        self.used.insert(index, start..end);
        Some(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_free_and_not_given_twice() {
        let used = [
            0x40_0000..0x50_0000,
            (64 << 30)..(65 << 30),
            (65 << 30)..(66 << 30) + 4096,
            (66 << 30) + (8 << 20)..(70 << 30),
            0x7ff0_0000_0000..0x7fff_0000_0000,
        ];
        let mut holes = Holes::between(used.clone());
        let mut given: Vec<Range<u64>> = Vec::new();
        for size in [4 << 20, 6 << 20, 4 << 20, 1 << 30, 4096] {
            let start = holes.take(size).unwrap();
            let hole = start..start + size;
            assert_eq!(start % ALIGNMENT, 0);
            for other in used.iter().chain(&given) {
                assert!(
                    hole.end <= other.start || other.end <= hole.start,
                    "{hole:x?}"
                );
            }
            given.push(hole);
        }
        assert_eq!(given[0].start, (66 << 30) + (2 << 20));
        assert_eq!(given[1].start, 70 << 30);
    }

    #[test]
    fn a_hole_for_pages_of_a_gibibyte() {
        let mut holes = Holes::between(std::iter::once((64 << 30)..(64 << 30) + 4096));
        assert_eq!(holes.take_aligned(1 << 30, 1 << 30), Some(65 << 30));
        assert_eq!(holes.take_aligned(4096, 4096), Some((64 << 30) + ALIGNMENT));
    }

    #[test]
    fn too_much_is_none() {
        assert_eq!(Holes::default().take(1 << 47), None);
        assert_eq!(Holes::default().take(u64::MAX), None);
        assert_eq!(Holes::between(std::iter::once(0..1 << 47)).take(4096), None);
    }

    #[test]
    fn where_all_usual_places_are_taken_it_is_another() {
        let mut holes = Holes::between([LOWEST..HIGHEST, HIGHEST + (6 << 20)..1 << 47]);
        assert_eq!(holes.take(4 << 20), Some(2 << 20));
        assert_eq!(holes.take(LOWEST - (6 << 20)), Some(6 << 20));
        assert_eq!(holes.take(4 << 20), Some(HIGHEST));
        assert_eq!(holes.take(4 << 20), None);
    }
}
