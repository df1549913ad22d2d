// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checkpoint and restore of process trees: capture → image → plan → execute.
//!
//! Capture and execute touch the kernel. Image and plan are plain data.

pub mod arch;
pub mod batch;
pub mod capture;
pub mod check;
mod clock;
pub mod dump;
pub mod error;
pub mod execute;
pub mod explain;
pub mod foreground;
pub mod freeze;
pub mod hooks;
pub mod inspect;
mod instruction;
pub mod interrupt;
mod kill;
pub mod kinds;
pub mod limit;
pub mod object;
pub mod pages;
mod parallel;
pub mod plan;
pub mod privileges;
pub mod procfs;
pub mod progress;
pub mod refusal;
pub mod remote;
pub mod request;
pub mod resolve;
pub mod restore;
mod security_labels;
pub mod spawn;
mod stopped;
pub mod subject;
mod taken;
pub mod terminal;
pub mod texts;

pub use error::{Error, Result};
