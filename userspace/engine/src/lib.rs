// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The procedures: a dump, a restore, and the commands that only look (`explain`, `inspect`,
//! `check`).
//!
//! Each is written once, in the order in which it happens, as calls of the crates below: a tree is
//! frozen (`crust-tracee`), its objects are captured and planned (`crust-kinds`), a plan is
//! executed (`crust-executor`). No procedure knows a kind of object, a structure of the kernel or a
//! system call by its number.
//!
//! This is all that a front end needs; the types of other crates that appear in its interface are
//! re-exported here.

#![forbid(unsafe_code)]
// Only tests cast numbers freely: they have chosen them.
#![cfg_attr(
    not(test),
    warn(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        clippy::cast_lossless
    )
)]

pub mod check;
mod dump;
mod effects;
mod explain;
pub mod foreground;
mod inspect;
mod numbers;
mod pidfile;
mod planning;
mod request;
mod restore;
mod space;
mod stream;
mod terminal;

pub use crust_hooks::Backend;
pub use crust_kinds::capture::DumpOptions;
pub use crust_kinds::plan_context::RestoreOptions;
pub use crust_kinds::registry::{Family, KINDS};
pub use crust_model::observer::{Observer, Point, Reply};
pub use crust_model::plan::text as plan_text;
pub use crust_model::refusal::{Refusal, Subject, Weight};
pub use crust_model::{Error, Result, words};
pub use crust_proc::{comm, named};

pub use self::dump::{capture_only, dump};
pub use self::explain::{Explanation, Verdict, explain};
pub use self::inspect::{Inspection, Process, inspect, names};
pub use self::request::{
    Captured, DumpReport, DumpRequest, Place, PlanReport, RestoreReport, RestoreRequest,
};
pub use self::restore::{plan, restore};
pub use self::space::{Space, space};
