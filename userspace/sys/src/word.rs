// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The integers of C in words of 64 bits, in which the kernel takes and returns them.
//!
//! An `int` is passed sign-extended, as C converts it to a `long`, and the kernel looks only at the
//! lower half of a word that it takes for an `int` (`__SC_CAST` in include/linux/syscalls.h). These
//! functions do the same, so that nobody needs a cast that might lose something.

/// Returns the word of a `long`.
#[must_use]
pub const fn from_long(value: i64) -> u64 {
    u64::from_ne_bytes(value.to_ne_bytes())
}

/// Returns the `long` in a word.
#[must_use]
pub const fn to_long(word: u64) -> i64 {
    i64::from_ne_bytes(word.to_ne_bytes())
}

/// Returns the word of an `int`, sign-extended.
#[must_use]
pub const fn from_int(value: i32) -> u64 {
    from_long(value as i64)
}

/// Returns the `int` in the lower half of a word.
#[must_use]
pub const fn to_int(word: u64) -> i32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

/// Returns the `unsigned int` in the lower half of a word.
#[must_use]
pub const fn to_uint(word: u64) -> u32 {
    let [a, b, c, d, ..] = word.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Returns the `size_t` in a word. Nothing is lost: this compiles only where both have 64 bits.
#[must_use]
pub const fn to_size(word: u64) -> usize {
    usize::from_ne_bytes(word.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_kept_and_upper_halves_ignored() {
        assert_eq!(from_int(-1), u64::MAX);
        assert_eq!(to_int(u64::MAX), -1);
        assert_eq!(to_int(0x1234_5678_0000_0007), 7);
        assert_eq!(to_uint(0x1234_5678_ffff_fff0), 0xffff_fff0);
        assert_eq!(to_long(from_long(i64::MIN)), i64::MIN);
        assert_eq!(to_size(u64::MAX), usize::MAX);
    }
}
