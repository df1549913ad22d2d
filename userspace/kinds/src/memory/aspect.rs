// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What an address space can have beside its mappings, and what is said of mappings of any kind: one
//! file each, and one table of them.
//!
//! Most programs have none of it, and so no record.

use crust_hooks::Hooks;
use crust_image::Record;
use crust_model::Result;
use crust_model::object::{Row, State};
use crust_model::refusal::Refusals;
use crust_proc::smaps::Vma;

use super::MemoryCapture;
use super::layout::Layout;
use super::policy::MemoryPolicies;
use super::protection_keys::ProtectionKeys;
use super::write_execute::WriteExecute;

/// How far an address space is when an aspect of it is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of the program is mapped.
    Empty,
    /// All of it is mapped, and nothing has been read into it.
    Mapped,
    /// Its contents are there, protected and locked as they should be, and not sealed.
    Filled,
}

/// Something that an address space has once.
pub trait SpaceAspect: State {
    /// Reads it; `None` if there is nothing to carry over.
    ///
    /// # Errors
    ///
    /// What broke; what cannot be carried over goes to [`MemoryCapture::refusals`] instead.
    fn capture(
        vmas: &[Vma],
        found: &mut MemoryCapture<'_>,
        hooks: &dyn Hooks,
    ) -> Result<Option<Self>>;

    /// Adds the steps that bring it back at this moment. It is asked at each.
    fn plan(&self, moment: Moment, layout: &mut Layout<'_>);

    /// Notes what this machine lacks for it.
    fn conflicts(&self, _task: i32, _refusals: &mut Refusals) {}
}

/// A record, if there is anything to keep.
type Captured = Result<Option<Record>>;

/// A line of [`SPACE`].
pub struct SpaceEntry {
    /// What `inspect` and the documentation know of it.
    pub row: Row,
    capture: fn(&[Vma], &mut MemoryCapture<'_>, &dyn Hooks) -> Captured,
    plan: fn(&Record, Moment, &mut Layout<'_>) -> Result<()>,
    conflicts: fn(&Record, &mut Refusals) -> Result<()>,
}

impl SpaceEntry {
    const fn of<A: SpaceAspect>() -> Self {
        Self {
            row: Row::of::<A>(),
            capture: |vmas, found, hooks| {
                let owner = found.process.id.0;
                A::capture(vmas, found, hooks)?
                    .map(|aspect| aspect.record(owner, 0))
                    .transpose()
            },
            plan: |record, moment, layout| {
                A::from_record(record)?.plan(moment, layout);
                Ok(())
            },
            conflicts: |record, refusals| {
                A::from_record(record)?.conflicts(record.owner as i32, refusals);
                Ok(())
            },
        }
    }
}

/// The table. What keeps a program from changing its memory stands last.
pub static SPACE: &[SpaceEntry] = &[
    SpaceEntry::of::<MemoryPolicies>(),
    SpaceEntry::of::<ProtectionKeys>(),
    SpaceEntry::of::<WriteExecute>(),
];

/// Captures all of the table.
///
/// # Errors
///
/// What broke.
pub fn capture(
    vmas: &[Vma],
    found: &mut MemoryCapture<'_>,
    hooks: &dyn Hooks,
) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for entry in SPACE {
        records.extend((entry.capture)(vmas, found, hooks)?);
    }
    Ok(records)
}

/// Plans those of `records`, which are of one process, that are in the table.
///
/// # Errors
///
/// If a record cannot be decoded.
pub fn plan(records: &[&Record], moment: Moment, layout: &mut Layout<'_>) -> Result<()> {
    for entry in SPACE {
        for record in records.iter().filter(|record| record.tag == entry.row.tag) {
            (entry.plan)(record, moment, layout)?;
        }
    }
    Ok(())
}

/// Notes what this machine lacks for a record, if that is in the table.
///
/// # Errors
///
/// If it cannot be decoded.
pub fn conflicts(record: &Record, refusals: &mut Refusals) -> Result<()> {
    match SPACE.iter().find(|entry| entry.row.tag == record.tag) {
        Some(entry) => (entry.conflicts)(record, refusals),
        None => Ok(()),
    }
}
