// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Signals in the kernel's representation.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// A complete `siginfo_t` (128 bytes).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigInfo {
    /// The structure.
    #[serde(deserialize_with = "whole")]
    pub bytes: Vec<u8>,
}

/// Decodes the bytes of a structure, which are as many as the kernel has.
fn whole<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let bytes = Vec::<u8>::deserialize(from)?;
    match bytes.len() {
        SigInfo::SIZE => Ok(bytes),
        length => Err(D::Error::invalid_length(
            length,
            &"the bytes of a siginfo_t",
        )),
    }
}

impl SigInfo {
    /// The size of a `siginfo_t`.
    pub const SIZE: usize = 128;

    fn number(&self, at: usize) -> i32 {
        i32::from_ne_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }

    /// Returns the signal number.
    #[must_use]
    pub fn signal(&self) -> i32 {
        self.number(0)
    }

    /// Returns the origin of the signal (`si_code`).
    #[must_use]
    pub fn code(&self) -> i32 {
        self.number(8)
    }

    /// Returns the POSIX timer that sent the signal, if `si_code` says that a timer did.
    #[must_use]
    pub fn timer(&self) -> Option<OfTimer> {
        let value = self.bytes[24..32].try_into().expect("eight bytes");
        (self.code() == libc::SI_TIMER).then(|| OfTimer {
            id: self.number(16),
            signal: self.signal(),
            value: u64::from_ne_bytes(value),
        })
    }
}

/// The information that a POSIX timer sends with its signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OfTimer {
    /// The id of the timer.
    pub id: i32,
    /// The signal.
    pub signal: i32,
    /// The value that the timer was created with.
    pub value: u64,
}

impl std::fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigInfo({}, code {})", self.signal(), self.code())
    }
}

/// The size of the kernel's signal sets in bytes.
pub const SET_SIZE: u64 = 8;

/// Returns the bit of a signal in a signal set: signal `n` is bit `n - 1`.
#[must_use]
pub const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}
