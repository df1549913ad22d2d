// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Counts the huge pages that an image needs, and those that a machine has available. A restore that ran short of them
//! would be killed (`SIGBUS`), so they are counted beforehand.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;

use crust_model::Result;
use crust_model::image::Image;
use crust_model::refusal::Subject;
use crust_proc::smaps::vm_flag;

use super::Mappings;
use super::area::Area;
use super::file_backed::{Behind, PrivateFile, SharedFile};
use super::huge_anonymous::HugeAnonymous;
use crate::conflicts::Conflicts;
use crate::ipc::sysv_shm::Segment;
use crate::kind::Kinds;
use crate::memory::pages::{Runs, SharedMemory, StoredPages};
use crate::pathless::HoldingFds;

/// The number of pages needed, keyed by the page size as a power of two.
type Needs = BTreeMap<u8, u64>;

/// Returns the pages of one size in a range.
fn pages(huge: u8, range: &Range<u64>) -> Range<u64> {
    let size = 1_u64.checked_shl(huge.into()).unwrap_or(u64::MAX);
    range.start / size..range.end.div_ceil(size)
}

/// Returns the pages of one size that contain any of the `runs`.
fn touched(huge: u8, runs: &Runs) -> Vec<Range<u64>> {
    let runs = runs.ranges().iter();
    runs.map(|run| pages(huge, run)).collect()
}

fn count(pages: Range<u64>) -> u64 {
    pages.end.saturating_sub(pages.start)
}

/// Returns how many pages are in any of the ranges. A damaged image may have ranges of any length.
fn count_all(mut ranges: Vec<Range<u64>>) -> u64 {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut end = 0;
    let mut counted = 0_u64;
    for range in ranges {
        counted = counted.saturating_add(count(range.start.max(end)..range.end));
        end = end.max(range.end);
    }
    counted
}

/// Returns the huge pages that the mappings and objects of an image need.
fn needs(kinds: Kinds, image: &Image) -> Result<Needs> {
    let mut needs = Needs::new();
    let mut need = |huge: u8, pages: u64| {
        if huge != 0 {
            let needs: &mut u64 = needs.entry(huge).or_default();
            *needs = needs.saturating_add(pages);
        }
    };
    let mut pathless: BTreeMap<u32, (u8, Vec<Range<u64>>)> = BTreeMap::new();
    for holding_fd in HoldingFds::of(kinds, image, 0)?.all() {
        let (id, contents) = (
            holding_fd.file.pathless().id,
            &holding_fd.file.pathless().contents,
        );
        if contents.huge != 0 {
            pathless.insert(id, (contents.huge, touched(contents.huge, &contents.runs)));
        }
    }
    let is_reserved = |area: &Area| !area.is(vm_flag::NO_RESERVE);
    for (owner, Mappings(list)) in image.all::<Mappings<HugeAnonymous>>() {
        let runs = image.get::<StoredPages>(owner).map(|stored| &stored.runs);
        for mapping in list {
            let range = mapping.area.range();
            let pages = if is_reserved(&mapping.area) {
                count(pages(mapping.huge, &range))
            } else {
                let here = pages(mapping.huge, &range);
                let touched = runs.map(|runs| touched(mapping.huge, runs));
                let touched = touched.into_iter().flatten();
                count_all(
                    touched
                        .map(|range| range.start.max(here.start)..range.end.min(here.end))
                        .collect(),
                )
            };
            need(mapping.huge, pages);
        }
    }
    for (_, memory) in image.all::<SharedMemory>() {
        let pages = if memory.no_reserve {
            count_all(touched(memory.huge, &memory.runs))
        } else {
            count(pages(memory.huge, &(0..memory.size)))
        };
        need(memory.huge, pages);
    }
    for (_, segment) in image.all::<Segment>() {
        let huge = segment.contents.huge;
        need(huge, count(pages(huge, &(0..segment.contents.size))));
    }
    for (_, Mappings(list)) in image.all::<Mappings<SharedFile>>() {
        for mapping in list.iter().filter(|mapping| is_reserved(&mapping.area)) {
            if let Behind::Pathless(id) = mapping.file {
                if let Some((huge, of_file)) = pathless.get_mut(&id) {
                    let end = mapping.offset.saturating_add(mapping.area.length);
                    of_file.push(pages(*huge, &(mapping.offset..end)));
                }
            }
        }
    }
    for (_, Mappings(list)) in image.all::<Mappings<PrivateFile>>() {
        for mapping in list {
            if let Behind::Pathless(id) = mapping.file {
                if let Some((huge, _)) = pathless.get(&id) {
                    need(*huge, count(pages(*huge, &(0..mapping.area.length))));
                }
            }
        }
    }
    for (huge, of_file) in pathless.into_values() {
        need(huge, count_all(of_file));
    }
    Ok(needs)
}

/// Returns how many pages of a size the kernel could provide now.
fn free(huge: u8) -> u64 {
    let kib = (1_u64 << huge) >> 10;
    let number = |name: &str| -> u64 {
        let path = format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB/{name}");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let pool = number("free_hugepages").saturating_sub(number("resv_hugepages"));
    let beyond = number("nr_overcommit_hugepages").saturating_sub(number("surplus_hugepages"));
    pool + beyond
}

/// Notes if this machine has too few huge pages for an image.
///
/// # Errors
///
/// Returns an error if the image is inconsistent.
pub(super) fn conflicts(kinds: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
    for (huge, needed) in needs(kinds, cx.image)? {
        let (free, kib) = (free(huge), (1_u64 << huge) >> 10);
        if free < needed {
            cx.refusals.block(
                Subject::Image,
                "huge-pages",
                "huge pages",
                format!(
                    "the image needs {needed}, and this machine has {free} free, of {kib} KiB each"
                ),
                format!(
                    "raise their number in /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages"
                ),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crust_hooks::KernelFeatures;

    use super::*;
    use crate::plan_context::RestoreOptions;
    use crate::registry::KINDS;

    const MIB: u64 = 1 << 20;

    fn runs(range: Range<u64>) -> Runs {
        let mut runs = Runs::default();
        runs.push(range);
        runs
    }

    #[test]
    fn ranges_that_overlap_count_once() {
        assert_eq!(count_all(vec![5..9, 0..3, 1..4, 8..10, 7..7]), 4 + 5);
        assert_eq!(count_all(vec![0..u64::MAX, 1..u64::MAX]), u64::MAX);
    }

    #[test]
    fn what_is_reserved_counts_whole_and_the_rest_by_its_pages() {
        let mapping = |start, vm_flags| HugeAnonymous {
            area: Area {
                start,
                length: 8 * MIB,
                vm_flags,
            },
            huge: 21,
        };
        let pages = StoredPages {
            runs: runs(18 * MIB + 4096..22 * MIB),
            ..StoredPages::default()
        };
        let mappings = vec![mapping(0, 0), mapping(16 * MIB, vm_flag::NO_RESERVE)];
        let memory = SharedMemory {
            huge: 30,
            size: 2048 * MIB,
            ..SharedMemory::default()
        };
        let plain = SharedMemory {
            inode: 1,
            size: 2048 * MIB,
            ..SharedMemory::default()
        };
        let mut image = Image::default();
        image.add((0, 0), Mappings(mappings)).unwrap();
        image.add((0, 0), pages).unwrap();
        image.add((0, 0), memory).unwrap();
        image.add((0, 1), plain).unwrap();
        assert_eq!(
            needs(KINDS, &image).unwrap(),
            Needs::from([(21, 4 + 2), (30, 2)])
        );
    }

    #[test]
    fn pages_that_no_machine_has_are_a_conflict() {
        let memory = SharedMemory {
            huge: 47,
            size: 1 << 47,
            ..SharedMemory::default()
        };
        let mut image = Image::default();
        image.add((0, 0), memory).unwrap();
        let options = RestoreOptions::default();
        let mut cx = Conflicts::new(&image, &options, KernelFeatures::default());
        conflicts(KINDS, &mut cx).unwrap();
        assert!(cx.refusals.as_slice()[0].why.contains("needs 1, and"));
    }
}
