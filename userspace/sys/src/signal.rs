// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Signals as the kernel has them.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// A `siginfo_t`, whole (128 bytes).
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

    /// The signal.
    #[must_use]
    pub fn signal(&self) -> i32 {
        self.number(0)
    }

    /// Where it came from (`si_code`).
    #[must_use]
    pub fn code(&self) -> i32 {
        self.number(8)
    }

    /// The POSIX timer that sent it, if it says that one did.
    #[must_use]
    pub fn timer(&self) -> Option<OfTimer> {
        let value = self.bytes[24..32].try_into().expect("eight bytes");
        (self.code() == libc::SI_TIMER).then(|| OfTimer {
            id: self.number(16),
            signal: self.signal(),
            value: u64::from_ne_bytes(value),
        })
    }

    /// Who sent it, for those codes that tell.
    #[must_use]
    pub fn sender(&self) -> i32 {
        self.number(16)
    }
}

/// What a POSIX timer says with its signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OfTimer {
    /// Its id.
    pub id: i32,
    /// The signal.
    pub signal: i32,
    /// The value that it was given.
    pub value: u64,
}

impl std::fmt::Debug for SigInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigInfo({}, code {})", self.signal(), self.code())
    }
}

/// A set of signals as one word: signal `n` is bit `n - 1`.
#[must_use]
pub const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}
