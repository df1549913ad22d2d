// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The limit on mappings per process (`vm.max_map_count`), and how many a process has while it is restored.

use std::collections::BTreeMap;

use crust_image::Record;
use crust_model::object::State;
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};

use super::attach::Attach;
use super::{Mappings, backed, kind_of};
use crate::ipc::sysv_shm::Segment;
use crate::memory::pages::SharedMemory;
use crate::pathless::HoldingFds;

/// The number of mappings of the restore itself: scratch memory. The range where the vDSO was parked is unmapped by
/// then.
const OURS: u64 = 1;

/// Returns the most mappings that each process has while it is restored: its own, and one for each object of shared
/// memory, file without a path and segment that it makes, plus temporarily one for a segment of which it has parts.
///
/// # Errors
///
/// Returns an error if a record cannot be decoded.
pub fn needed(records: &[Record]) -> Result<BTreeMap<u32, u64>> {
    let mut needed = BTreeMap::new();
    for record in records {
        let count = match kind_of(record) {
            Some(kind) => (kind.areas)(record)?.len() as u64,
            None if [SharedMemory::TAG, Segment::TAG].contains(&record.tag) => 1,
            None => continue,
        };
        let aside = u64::from(record.tag == Mappings::<Attach>::TAG);
        *needed.entry(record.owner).or_insert(OURS) += count + aside;
    }
    for holding_fd in HoldingFds::of(records, 0)?.all() {
        if !backed::is_early(holding_fd) && !holding_fd.file.pathless().contents.runs.is_empty() {
            *needed.entry(holding_fd.process.0).or_insert(OURS) += 1;
        }
    }
    Ok(needed)
}

/// Returns the limit of this machine.
///
/// # Errors
///
/// Returns an error if it cannot be read.
pub fn of_this_machine() -> Result<u64> {
    const PATH: &str = "/proc/sys/vm/max_map_count";
    let text = std::fs::read_to_string(PATH)
        .map_err(|error| Error::from_io(format!("read {PATH}"), &error))?;
    text.trim()
        .parse()
        .map_err(|_| Error::malformed(PATH, "is no number"))
}

/// Notes if a process needs more mappings than it may have.
pub fn conflicts(needed: u64, limit: u64, task: i32, refusals: &mut Refusals) {
    if needed > limit {
        refusals.block(
            task,
            "memory",
            format!("its restore takes {needed} mappings, and a process may have {limit} here"),
            format!(
                "raise the limit, which can be lowered again: sysctl vm.max_map_count={needed}"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Mappings;
    use crate::memory::private_anonymous::PrivateAnonymous;

    #[test]
    fn a_process_needs_one_more_than_it_has() {
        let two = Mappings(vec![PrivateAnonymous::default(); 2]);
        let records = [
            two.record(7, 0).unwrap(),
            SharedMemory::default().record(7, 0).unwrap(),
        ];
        let needed = needed(&records).unwrap();
        assert_eq!(needed, BTreeMap::from([(7, 4)]));
        let mut refusals = Refusals::default();
        conflicts(needed[&7], 4, 7, &mut refusals);
        assert!(!refusals.forbid());
        conflicts(needed[&7], 3, 7, &mut refusals);
        assert!(refusals.forbid());
        assert!(of_this_machine().unwrap() > 100);
    }
}
