// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Free ranges of addresses and of offsets.

pub mod gaps;
pub mod holes;
