// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `crust`: checkpoint and restore of Linux process trees.

fn main() {}
