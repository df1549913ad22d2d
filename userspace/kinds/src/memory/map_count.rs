// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The limit on mappings per process (`vm.max_map_count`), and how many a process has while it is restored.

use std::collections::BTreeMap;

use crust_model::image::Image;
use crust_model::object::State;
use crust_model::plan::ProcessId;
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};

use super::attach::Attach;
use super::{MappingRole, Mappings, backed};
use crate::conflicts::Conflicts;
use crate::ipc::sysv_shm::Segment;
use crate::kind::Kinds;
use crate::memory::pages::SharedMemory;
use crate::pathless::HoldingFds;
use crate::task::tree;

/// The number of mappings of the restore itself: scratch memory. The range where the vDSO was parked is unmapped by
/// then.
const OURS: u64 = 1;

/// Returns the most mappings that each process has while it is restored: its own, and one for each object of shared
/// memory, file without a path and segment that it makes, plus temporarily one for a segment of which it has parts.
///
/// # Errors
///
/// Returns an error if the image is inconsistent.
fn needed(kinds: Kinds, image: &Image) -> Result<BTreeMap<ProcessId, u64>> {
    let mut needed = BTreeMap::new();
    let mut need = |process, count| *needed.entry(process).or_insert(OURS) += count;
    for (tag, role) in kinds.of_role::<MappingRole>() {
        for (owner, object) in image.of_tag(tag) {
            let aside = u64::from(tag == Mappings::<Attach>::TAG);
            need(owner.process(), (role.areas)(object).len() as u64 + aside);
        }
    }
    for tag in [SharedMemory::TAG, Segment::TAG] {
        for (owner, _) in image.of_tag(tag) {
            need(owner.process(), 1);
        }
    }
    for holding_fd in HoldingFds::of(kinds, image, 0)?.all() {
        if !backed::is_early(holding_fd) && !holding_fd.file.pathless().contents.runs.is_empty() {
            need(holding_fd.process, 1);
        }
    }
    Ok(needed)
}

/// Returns the limit of this machine.
///
/// # Errors
///
/// Returns an error if it cannot be read.
fn of_this_machine() -> Result<u64> {
    const PATH: &str = "/proc/sys/vm/max_map_count";
    let text = std::fs::read_to_string(PATH)
        .map_err(|error| Error::from_io(format!("read {PATH}"), &error))?;
    text.trim()
        .parse()
        .map_err(|_| Error::malformed(PATH, "is no number"))
}

/// Notes which processes need more mappings than they may have here.
///
/// # Errors
///
/// Returns an error if the image is inconsistent, or the limit cannot be read.
pub(super) fn conflicts(kinds: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
    let limit = of_this_machine()?;
    for (process, needed) in needed(kinds, cx.image)? {
        let pid = tree::number(cx.image, process.leader());
        check(needed, limit, pid, &mut cx.refusals);
    }
    Ok(())
}

/// Notes if a process needs more mappings than it may have.
fn check(needed: u64, limit: u64, task: i32, refusals: &mut Refusals) {
    if needed > limit {
        refusals.block(
            task,
            "max-map-count",
            "memory",
            format!("its restore needs {needed} mappings, and a process may have {limit} here"),
            format!("raise the limit for the restore: sysctl vm.max_map_count={needed}"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Mappings;
    use crate::memory::private_anonymous::PrivateAnonymous;
    use crate::registry::KINDS;

    #[test]
    fn a_process_needs_one_more_than_it_has() {
        let two = Mappings(vec![PrivateAnonymous::default(); 2]);
        let (mut image, process) = (Image::default(), ProcessId(7));
        image.add(process, two).unwrap();
        image.add(process, SharedMemory::default()).unwrap();
        let needed = needed(KINDS, &image).unwrap();
        assert_eq!(needed, BTreeMap::from([(process, 4)]));
        let mut refusals = Refusals::default();
        check(needed[&process], 4, 7, &mut refusals);
        assert!(!refusals.forbid());
        check(needed[&process], 3, 7, &mut refusals);
        assert!(refusals.forbid());
        assert!(of_this_machine().unwrap() > 100);
    }
}
