// SPDX-License-Identifier: Apache-2.0 OR MIT

//! All processes that `/proc` shows.

use std::fs;

/// Returns the pids of all processes that crust can see; none if there is no `/proc`.
pub fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    // All other entries are names.
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_among_them() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(pids().any(|pid| pid == own));
    }
}
