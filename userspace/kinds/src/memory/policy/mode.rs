// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A memory policy, as shown by `numa_maps` and as taken by system calls.

use std::collections::BTreeSet;

use crust_model::plan::Data;
use serde::{Deserialize, Serialize};

/// The names in `numa_maps` of `MPOL_DEFAULT` and the other modes, in the order of
/// linux/mempolicy.h.
pub(super) const MODES: [&str; 7] = [
    "default",
    "prefer",
    "bind",
    "interleave",
    "local",
    "prefer (many)",
    "weighted interleave",
];
const BIND: u32 = libc::MPOL_BIND as u32;
const PREFERRED_MANY: u32 = linux_raw_sys::mempolicy::MPOL_PREFERRED_MANY as u32;

/// The names in `numa_maps` of the `MPOL_F_*` flags.
const FLAGS: [(&str, u32); 3] = [
    ("static", 1 << 15),
    ("relative", 1 << 14),
    ("balancing", 1 << 13),
];
pub(super) const RELATIVE: u32 = libc::MPOL_F_RELATIVE_NODES as u32;

/// The bytes that the kernel has room for in `numa_maps`; it truncates what does not fit.
const TEXT: usize = 63;

/// A memory policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// The `MPOL_*` mode, and the flags.
    pub mode: u32,
    /// The nodes of the policy.
    pub nodes: BTreeSet<u32>,
}

impl Policy {
    /// Parses what follows the address in a line of `numa_maps`, such as
    /// `bind=static:0-1,4 anon=1`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // Prefer the longest name: one is a prefix of another.
        let (mode, name) = (0..)
            .zip(MODES)
            .filter(|(_, name)| text.starts_with(name))
            .max_by_key(|(_, name)| name.len())?;
        let rest = text[name.len()..].split(' ').next()?;
        let (flags, nodes) = rest.split_once(':').unwrap_or((rest, ""));
        let mut policy = Self {
            mode,
            nodes: BTreeSet::new(),
        };
        if let Some(flags) = flags.strip_prefix('=') {
            for flag in flags.split('|') {
                policy.mode |= FLAGS.iter().find(|(name, _)| *name == flag)?.1;
            }
        } else if !flags.is_empty() {
            return None;
        }
        policy.nodes = parse_nodes(nodes)?;
        let whole = name.len() + rest.len();
        (whole < TEXT).then_some(policy)
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Returns whether the policy can have a home node (`set_mempolicy_home_node`).
    pub(super) fn can_have_home(&self) -> bool {
        matches!(self.mode & 0xff, BIND | PREFERRED_MANY)
    }

    /// Returns the mask of nodes as the kernel takes it, with the number of bits that the kernel
    /// expects.
    pub(super) fn mask(&self) -> (Data, u64) {
        let words = self.nodes.last().map_or(1, |last| last / 64 + 1);
        let mut mask = vec![0_u64; words as usize];
        for node in &self.nodes {
            mask[(node / 64) as usize] |= 1 << (node % 64);
        }
        // The number is one more than there are bits (mm/mempolicy.c:get_nodes).
        (Data::words(&mask), u64::from(words) * 64 + 1)
    }
}

/// Parses a list of nodes like `0-1,4`.
pub(super) fn parse_nodes(text: &str) -> Option<BTreeSet<u32>> {
    let mut nodes = BTreeSet::new();
    for range in text.split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        nodes.extend(first.parse().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: u32, nodes: &[u32]) -> Policy {
        Policy {
            mode,
            nodes: nodes.iter().copied().collect(),
        }
    }

    #[test]
    fn policies_as_the_kernel_shows_them() {
        for (text, mode, nodes) in [
            ("default file=/bin/x mapped=2", 0, &[][..]),
            ("default", 0, &[]),
            ("prefer:1 anon=1", 1, &[1]),
            ("prefer (many):0-1 stack", 5, &[0, 1]),
            ("bind=static:0,2-3 heap", 2 | 1 << 15, &[0, 2, 3]),
            ("bind=relative|balancing:0", 2 | 1 << 14 | 1 << 13, &[0]),
            ("bind=balancing:1", 2 | 1 << 13, &[1]),
            ("interleave:0-1", 3, &[0, 1]),
            ("weighted interleave:1", 6, &[1]),
            ("local", 4, &[]),
        ] {
            assert_eq!(Policy::parse(text), Some(policy(mode, nodes)), "{text}");
        }
        for text in ["", "unknown", "bind=new:0", "prefer:x", "bindx:0"] {
            assert_eq!(Policy::parse(text), None, "{text}");
        }
        // This text may have been truncated.
        let long = format!("bind:{}1", "0,".repeat(29));
        assert_eq!((long.len(), Policy::parse(&long)), (TEXT + 1, None));
    }

    #[test]
    fn masks_are_as_long_as_they_must_be() {
        let (mask, bits) = policy(2, &[1, 64]).mask();
        assert_eq!((mask, bits), (Data::words(&[2, 1]), 129));
        assert_eq!(policy(0, &[]).mask().1, 65);
    }
}
