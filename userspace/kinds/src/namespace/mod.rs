// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Namespaces: what a whole tree has in common.

pub mod time;

use crust_hooks::Abilities;
use crust_image::Record;
use crust_model::Result;
use crust_model::object::{Row, State};
use crust_model::refusal::Refusals;

use self::time::Clocks;
use crate::plan_context::{Resolve, RestoreOptions};

/// The rows of all kinds of this family.
pub fn rows() -> impl Iterator<Item = Row> {
    std::iter::once(Row::of::<Clocks>())
}

/// Plans everything of this family.
///
/// # Errors
///
/// What in the image makes no sense.
pub fn plan(resolve: &mut Resolve<'_>) -> Result<()> {
    let records = resolve.records;
    for record in records.iter().filter(|record| record.tag == Clocks::TAG) {
        Clocks::from_record(record)?.plan(resolve);
    }
    Ok(())
}

/// What is in the way on this machine.
///
/// # Errors
///
/// What in the image makes no sense.
pub fn conflicts(
    records: &[Record],
    options: &RestoreOptions,
    abilities: Abilities,
    refusals: &mut Refusals,
) -> Result<()> {
    time::conflicts(records, options, abilities, refusals)
}
