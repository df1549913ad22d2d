// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the runners of cases and applications and the benchmark share. The harness has none of it: it is on the other
//! side of a guest's output.

pub mod options;
pub mod patience;
pub mod report;
pub mod tool;
pub mod tree;
