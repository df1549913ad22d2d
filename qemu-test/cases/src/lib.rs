// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the runners of cases and applications and the benchmark share.

pub mod patience;
pub mod tool;
pub mod tree;
