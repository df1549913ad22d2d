// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The aspects of an address space besides its mappings, and the settings that mappings of any kind can have: one file
//! each, and one table of them.
//!
//! Most programs have none of them, and so no record.

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

/// The state of an address space when an aspect of it is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of the program is mapped.
    Empty,
    /// Everything is mapped, and nothing has been read into it.
    Mapped,
    /// The contents are there, protected and locked as they should be, but not sealed.
    Filled,
}

/// A property that an address space has once.
pub trait SpaceAspect: State {
    /// Reads the aspect; returns `None` if there is nothing to carry over.
    ///
    /// # Errors
    ///
    /// Returns what broke; what cannot be carried over goes to [`MemoryCapture::refusals`] instead.
    fn capture(
        vmas: &[Vma],
        found: &mut MemoryCapture<'_>,
        hooks: &dyn Hooks,
    ) -> Result<Option<Self>>;

    /// Adds the steps that restore the aspect at this moment. It is called at each moment.
    fn plan(&self, moment: Moment, layout: &mut Layout<'_>);

    /// Notes what this machine lacks for the aspect.
    fn conflicts(&self, _task: i32, _refusals: &mut Refusals) {}
}

/// The record of an aspect, if there is anything to keep.
type Captured = Result<Option<Record>>;

/// An entry of [`SPACE`].
pub struct SpaceEntry {
    /// The name, tag and support text, for `inspect` and the documentation.
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

/// The table of aspects. Those that keep a program from changing its memory come last.
pub static SPACE: &[SpaceEntry] = &[
    SpaceEntry::of::<MemoryPolicies>(),
    SpaceEntry::of::<ProtectionKeys>(),
    SpaceEntry::of::<WriteExecute>(),
];

/// Captures all aspects in the table.
///
/// # Errors
///
/// Returns what broke.
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

/// Plans those of `records`, all of one process, that are in the table.
///
/// # Errors
///
/// Returns an error if a record cannot be decoded.
pub fn plan(records: &[&Record], moment: Moment, layout: &mut Layout<'_>) -> Result<()> {
    for entry in SPACE {
        for record in records.iter().filter(|record| record.tag == entry.row.tag) {
            (entry.plan)(record, moment, layout)?;
        }
    }
    Ok(())
}

/// Notes what this machine lacks for a record, if the record is in the table.
///
/// # Errors
///
/// Returns an error if the record cannot be decoded.
pub fn conflicts(record: &Record, refusals: &mut Refusals) -> Result<()> {
    match SPACE.iter().find(|entry| entry.row.tag == record.tag) {
        Some(entry) => (entry.conflicts)(record, refusals),
        None => Ok(()),
    }
}
