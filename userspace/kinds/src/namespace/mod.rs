// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Namespaces: state that a whole tree has in common.

pub mod time;

use crust_hooks::KernelFeatures;
use crust_image::Record;
use crust_model::Result;
use crust_model::object::{Row, State};
use crust_model::refusal::Refusals;

use self::time::Clocks;
use crate::plan_context::{PlanCx, RestoreOptions};

/// Returns the rows of all kinds of this family.
pub fn rows() -> impl Iterator<Item = Row> {
    std::iter::once(Row::of::<Clocks>())
}

/// Plans everything of this family.
///
/// # Errors
///
/// If the image is inconsistent.
pub fn plan(cx: &mut PlanCx<'_>) -> Result<()> {
    let records = cx.records;
    for record in records.iter().filter(|record| record.tag == Clocks::TAG) {
        Clocks::from_record(record)?.plan(cx);
    }
    Ok(())
}

/// Checks what on this machine is in the way.
///
/// # Errors
///
/// If the image is inconsistent.
pub fn conflicts(
    records: &[Record],
    options: &RestoreOptions,
    features: KernelFeatures,
    refusals: &mut Refusals,
) -> Result<()> {
    time::conflicts(records, options, features, refusals)
}
