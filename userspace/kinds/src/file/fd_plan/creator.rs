// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Assigns each open file description to the process that makes it, and to its number there.

use std::collections::BTreeMap;

use crust_model::plan::ProcessId;
use crust_model::{Error, Result};

use super::numbers::Numbers;
use super::{Files, Tables, missing};
use crate::descriptor::DescriptionId;
use crate::descriptor::table::Slot;

/// The process and the number at which a description is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Creator {
    /// The process that makes the description.
    pub process: ProcessId,
    /// The number of the descriptor in that process.
    pub number: i32,
    /// Whether that descriptor is closed by `execve`.
    pub cloexec: bool,
}

/// The creators of all descriptions.
#[derive(Debug, Default)]
pub(super) struct Homes {
    homes: BTreeMap<DescriptionId, Creator>,
    by_process: BTreeMap<ProcessId, Vec<DescriptionId>>,
    slots: BTreeMap<(ProcessId, i32), Slot>,
}

impl Homes {
    /// Assigns a creator to every description. Descriptions that are made together get the same
    /// process; one that is not in the table of that process gets a temporary number.
    pub fn assign(
        tables: &Tables<'_>,
        files: &Files<'_>,
        numbers: &mut BTreeMap<ProcessId, Numbers>,
    ) -> Result<Self> {
        let mut homes = Self::default();
        // The first slot of each description in each process that has it.
        let mut holders: BTreeMap<DescriptionId, BTreeMap<ProcessId, Slot>> = BTreeMap::new();
        let mut by_pid = BTreeMap::new();
        for (&process, table) in tables.iter().filter(|(_, table)| table.shares.is_none()) {
            homes.by_process.insert(process, Vec::new());
            by_pid.insert(table.pid, process);
            for slot in &table.slots {
                if !files.contains_key(&slot.description) {
                    return Err(missing(slot.description));
                }
                if homes.slots.insert((process, slot.number), *slot).is_some() {
                    let object = format!("descriptor table of {process}");
                    return Err(Error::malformed(
                        object,
                        format!("two of fd {}", slot.number),
                    ));
                }
                holders
                    .entry(slot.description)
                    .or_default()
                    .entry(process)
                    .or_insert(*slot);
            }
        }
        for (table, owner) in tables
            .values()
            .filter_map(|table| Some((table, table.shares?)))
        {
            // The process that fills the shared table makes what this one is to make.
            by_pid.insert(table.pid, owner);
        }
        for group in groups(files)? {
            let maker = group
                .iter()
                .find_map(|id| by_pid.get(&files[id].maker()?).copied());
            let first = group
                .iter()
                .filter_map(|id| holders.get(id)?.keys().next().copied())
                .min();
            let needer = || homes.needer(files, &group);
            let process = maker.or(first).or_else(needer).unwrap_or(ProcessId(0));
            for id in group {
                let slot = holders.get(&id).and_then(|holders| holders.get(&process));
                let number = match slot {
                    Some(slot) => slot.number,
                    None => numbers
                        .get_mut(&process)
                        .ok_or_else(|| missing(id))?
                        .temporary_fd(),
                };
                let creator = Creator {
                    process,
                    number,
                    cloexec: slot.is_none_or(|slot| slot.cloexec),
                };
                homes.homes.insert(id, creator);
                homes.by_process.entry(process).or_default().push(id);
            }
        }
        Ok(homes)
    }

    fn needer(&self, files: &Files, group: &[DescriptionId]) -> Option<ProcessId> {
        files
            .iter()
            .find(|(_, file)| file.needs().iter().any(|need| group.contains(need)))
            .and_then(|(id, _)| self.homes.get(id))
            .map(|creator| creator.process)
    }

    /// Returns the creator of a description.
    pub fn get(&self, id: DescriptionId) -> Option<Creator> {
        self.homes.get(&id).copied()
    }

    /// Returns the descriptions that a process creates.
    pub fn of(&self, process: ProcessId) -> Vec<DescriptionId> {
        self.by_process.get(&process).cloned().unwrap_or_default()
    }

    /// Returns the descriptor that the image has at a number of a process.
    pub fn slot(&self, process: ProcessId, number: i32) -> Option<Slot> {
        self.slots.get(&(process, number)).copied()
    }
}

/// Groups the descriptions that are made together, in order of their numbers.
fn groups(files: &Files) -> Result<Vec<Vec<DescriptionId>>> {
    let mut leader: BTreeMap<DescriptionId, DescriptionId> =
        files.keys().map(|&id| (id, id)).collect();
    fn find(
        leader: &BTreeMap<DescriptionId, DescriptionId>,
        mut id: DescriptionId,
    ) -> DescriptionId {
        while leader[&id] != id {
            id = leader[&id];
        }
        id
    }
    for (&id, file) in files {
        for companion in file.companions() {
            if !files.contains_key(&companion) {
                return Err(missing(companion));
            }
            let (a, b) = (find(&leader, id), find(&leader, companion));
            leader.insert(a.max(b), a.min(b));
        }
    }
    let mut groups: BTreeMap<DescriptionId, Vec<DescriptionId>> = BTreeMap::new();
    for &id in files.keys() {
        groups.entry(find(&leader, id)).or_default().push(id);
    }
    Ok(groups.into_values().collect())
}
