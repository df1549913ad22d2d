// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sorted ranges of pages.

use std::ops::Range;

use crust_image::PAGE_SIZE;
use serde::{Deserialize, Serialize};

/// Ranges of whole pages in ascending order, no two adjacent.
///
/// In an image each range is two small numbers: the pages between the end of the previous range and its start, and its
/// own pages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct Runs(Vec<Range<u64>>);

impl Runs {
    /// Appends a range after all others.
    ///
    /// # Panics
    ///
    /// If the range does not come after all others: an image of it could not be read.
    pub fn push(&mut self, range: Range<u64>) {
        match self.0.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            Some(last) if last.end > range.start => panic!("pages {range:x?} come after {last:x?}"),
            _ => self.0.push(range),
        }
    }

    /// Returns the ranges, in bytes.
    #[must_use]
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    /// Returns the total number of bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|range| range.end - range.start).sum()
    }

    /// Returns whether there are no ranges.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the intersection with `others`.
    #[must_use]
    pub fn and(&self, others: &Self) -> Self {
        self.pieces(others, true)
    }

    /// Returns the pages that are not in `others`.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        self.pieces(others, false)
    }

    fn pieces(&self, others: &Self, wanted: bool) -> Self {
        let mut all = Self::default();
        for (_, within, piece) in self.split(&others.0) {
            if within == wanted {
                piece.0.into_iter().for_each(|range| all.push(range));
            }
        }
        all
    }

    /// Returns the union with `others`.
    #[must_use]
    pub fn or(&self, others: &Self) -> Self {
        let mut all: Vec<_> = self.0.iter().chain(&others.0).cloned().collect();
        all.sort_unstable_by_key(|range| range.start);
        let mut union = Self::default();
        for range in all {
            match union.0.last_mut() {
                Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
                _ => union.0.push(range),
            }
        }
        union
    }

    /// Returns whether any page of `range` is among them.
    #[must_use]
    pub fn touch(&self, range: &Range<u64>) -> bool {
        let next = self.0.partition_point(|run| run.end <= range.start);
        self.0.get(next).is_some_and(|run| run.start < range.end)
    }

    /// Splits the ranges where a range of `except` begins or ends. Each piece comes with the number of bytes before it,
    /// and whether it lies within a range of `except`. `except` is sorted.
    #[must_use]
    pub fn split(&self, except: &[Range<u64>]) -> Vec<(u64, bool, Self)> {
        let mut pieces: Vec<(u64, bool, Self)> = Vec::new();
        let mut before = 0;
        for run in &self.0 {
            let mut start = run.start;
            while start < run.end {
                let next = except.partition_point(|range| range.end <= start);
                let (end, within) = match except.get(next) {
                    Some(range) if range.start <= start => (range.end, true),
                    Some(range) => (range.start, false),
                    None => (run.end, false),
                };
                let end = end.min(run.end);
                match pieces.last_mut() {
                    Some((_, last, piece)) if *last == within => piece.push(start..end),
                    _ => {
                        let mut piece = Self::default();
                        piece.push(start..end);
                        pieces.push((before, within, piece));
                    }
                }
                before += end - start;
                start = end;
            }
        }
        pieces
    }

    /// Returns the ranges in groups of at most `most` pieces and `bytes` bytes, each with the number of bytes before
    /// it.
    pub fn groups(&self, most: usize, bytes: u64) -> impl Iterator<Item = (u64, Vec<Range<u64>>)> {
        let mut rest = self.0.iter().cloned();
        let mut cut: Option<Range<u64>> = None;
        let mut before = 0;
        std::iter::from_fn(move || {
            let mut group = Vec::new();
            let mut room = bytes;
            while group.len() < most && room > 0 {
                let Some(range) = cut.take().or_else(|| rest.next()) else {
                    break;
                };
                let length = (range.end - range.start).min(room);
                let middle = range.start + length;
                if middle < range.end {
                    cut = Some(middle..range.end);
                }
                group.push(range.start..middle);
                room -= length;
            }
            let offset = before;
            before += bytes - room;
            (!group.is_empty()).then_some((offset, group))
        })
    }
}

impl From<Runs> for Vec<(u64, u64)> {
    fn from(runs: Runs) -> Self {
        let mut end = 0;
        runs.0
            .into_iter()
            .map(|range| {
                let gap = range.start - end;
                end = range.end;
                (gap / PAGE_SIZE, (range.end - range.start) / PAGE_SIZE)
            })
            .collect()
    }
}

impl TryFrom<Vec<(u64, u64)>> for Runs {
    type Error = &'static str;

    fn try_from(pairs: Vec<(u64, u64)>) -> Result<Self, Self::Error> {
        let mut runs = Self(Vec::with_capacity(pairs.len()));
        let mut end: u64 = 0;
        for (gap, pages) in pairs {
            let bytes = |pages: u64| pages.checked_mul(PAGE_SIZE);
            let start = bytes(gap).and_then(|gap| end.checked_add(gap));
            let Some((start, length)) = start.zip(bytes(pages)) else {
                return Err("pages beyond all addresses");
            };
            end = start
                .checked_add(length)
                .ok_or("pages beyond all addresses")?;
            if length > 0 {
                runs.push(start..end);
            }
        }
        Ok(runs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: u64 = PAGE_SIZE;

    fn runs() -> Runs {
        let mut runs = Runs::default();
        for range in [2 * P..3 * P, 3 * P..5 * P, 9 * P..10 * P] {
            runs.push(range);
        }
        runs
    }

    #[test]
    fn neighbours_become_one_and_the_encoding_is_small() {
        assert_eq!(runs().ranges(), [2 * P..5 * P, 9 * P..10 * P]);
        assert_eq!(runs().bytes(), 4 * P);
        let bytes = crust_image::codec::encode(&runs()).unwrap();
        assert_eq!(bytes, [2, 2, 3, 4, 1]);
        assert_eq!(crust_image::codec::decode::<Runs>(&bytes).unwrap(), runs());
    }

    #[test]
    fn a_run_beyond_all_addresses_is_an_error() {
        assert!(Runs::try_from(vec![(1, u64::MAX / P)]).is_err());
        assert!(Runs::try_from(vec![(u64::MAX, 1)]).is_err());
    }

    #[test]
    fn touch() {
        for (range, expected) in [
            (0..2 * P, false),
            (0..3 * P, true),
            (4 * P..5 * P, true),
            (5 * P..9 * P, false),
            (5 * P..20 * P, true),
            (10 * P..20 * P, false),
        ] {
            assert_eq!(runs().touch(&range), expected, "{range:?}");
        }
    }

    #[test]
    fn split_keeps_order_and_counts_what_is_before() {
        let pieces = runs().split(&[0..P, 3 * P..4 * P, 9 * P..20 * P]);
        let shown: Vec<_> = pieces
            .iter()
            .map(|(before, within, runs)| (before / P, *within, runs.bytes() / P))
            .collect();
        let expected = [(0, false, 1), (1, true, 1), (2, false, 1), (3, true, 1)];
        assert_eq!(shown, expected);
        assert_eq!(runs().split(&[]).len(), 1);
    }

    #[test]
    fn sets() {
        let others = Runs(vec![0..3 * P, 4 * P..9 * P]);
        assert_eq!(runs().and(&others).0, [2 * P..3 * P, 4 * P..5 * P]);
        assert_eq!(runs().without(&others).0, [3 * P..4 * P, 9 * P..10 * P]);
        assert_eq!(runs().or(&others).0[0], 0..10 * P);
        assert_eq!(Runs::default().or(&others), others);
        assert!(runs().without(&runs()).is_empty());
    }

    #[test]
    fn groups_cut_long_runs_and_count_what_is_before() {
        let groups: Vec<_> = runs().groups(2, 2 * P).collect();
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].0, 0);
        assert!(groups[0].1.iter().eq([&(2 * P..4 * P)]));
        assert_eq!(groups[1], (2 * P, vec![4 * P..5 * P, 9 * P..10 * P]));
        assert_eq!(runs().groups(1, 100 * P).count(), 2);
    }
}
