// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Bisection with a comparison that can fail, as `kcmp` can.

use std::cmp::Ordering;

use crust_model::Result;

/// Bisects a sorted slice with a comparison that can fail. Returns the index of the match, or the index at which it
/// would be inserted.
pub fn bisect<T>(
    sorted: &[T],
    mut compare: impl FnMut(&T) -> Result<Ordering>,
) -> Result<std::result::Result<usize, usize>> {
    let (mut low, mut high) = (0, sorted.len());
    while low < high {
        let middle = usize::midpoint(low, high);
        match compare(&sorted[middle])? {
            Ordering::Equal => return Ok(Ok(middle)),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    Ok(Err(low))
}
