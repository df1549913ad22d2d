// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Ranges of addresses and of offsets that are free.

pub mod gaps;
pub mod holes;
