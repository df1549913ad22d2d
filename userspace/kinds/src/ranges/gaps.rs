// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Gaps in an address space. Where a system call takes no address, the kernel still maps nothing over an existing
//! mapping: with all other gaps occupied for a moment, it has no choice. (`VmPeak` in `/proc/PID/status` shows this
//! ever after.)

use std::ops::Range;

use crust_model::plan::{Arg, Call};

/// Returns the parts of `all` not covered by `taken`, whose ranges lie within `all`.
pub fn between(mut taken: Vec<Range<u64>>, all: Range<u64>) -> Vec<Range<u64>> {
    taken.sort_unstable_by_key(|range| range.start);
    taken.push(all.end..all.end);
    let mut gaps = Vec::new();
    let mut start = all.start;
    for range in taken {
        if start < range.start {
            gaps.push(start..range.start);
        }
        start = start.max(range.end);
    }
    gaps
}

/// Returns the call that occupies a gap.
pub fn occupy(gap: &Range<u64>) -> Call {
    let flags =
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    let call = Call::new(
        format!("occupy {:x}-{:x}", gap.start, gap.end),
        libc::SYS_mmap,
        [
            gap.start.into(),
            (gap.end - gap.start).into(),
            libc::PROT_NONE.into(),
            flags.into(),
            Arg::from(-1),
            0.into(),
        ],
    );
    call.must_return(gap.start)
}

/// Returns the call that frees an occupied gap or a part of it.
pub fn free(range: &Range<u64>) -> Call {
    Call::new(
        format!("free {:x}-{:x}", range.start, range.end),
        libc::SYS_munmap,
        [range.start.into(), (range.end - range.start).into()],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_left() {
        let taken = vec![40..50, 10..20, 20..30];
        assert_eq!(between(taken, 0..60), [0..10, 30..40, 50..60]);
        assert_eq!(between(vec![0..30, 30..60], 0..60), []);
        assert_eq!(between(vec![0..30, 10..20], 0..60).len(), 1);
    }
}
