// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Namespaces: state that a whole tree has in common.

pub mod time;
