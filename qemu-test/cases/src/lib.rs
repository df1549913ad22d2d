// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What the case runner and the benchmark share.

pub mod tree;
