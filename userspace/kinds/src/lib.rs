// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The kinds of kernel objects: what is captured of each, and which steps restore it.
//!
//! A kind is one file: a plain serde structure that implements [`State`](crust_model::object::State),
//! [`Kind`](kind::Kind) and the trait of its source ([`task::ProcessAspect`], [`task::ThreadAspect`],
//! [`memory::MappingKind`], [`memory::aspect::SpaceAspect`], [`file::FileKind`], [`pathless::PathlessKind`], or
//! [`kind::TreeKind`]), and a line in the [table](registry::KINDS).
//!
//! A capture only reads ([`capture::Capture`]); a plan is made without looking at the machine
//! ([`plan_context::PlanCx`]); only `conflicts` checks whether this machine has what an image needs. Kinds use stopped
//! tasks (`crust-tracee`) and what the kernel reports (`crust-hooks`); they must not know how a plan is executed.

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

mod bisect;
pub mod capture;
pub mod conflicts;
pub mod contents;
pub mod descriptor;
pub mod file;
pub mod ipc;
pub mod kind;
pub mod memory;
pub mod namespace;
pub mod notes;
pub mod outside;
pub mod path;
pub mod pathless;
pub mod plan_context;
mod ranges;
pub mod registry;
#[cfg(test)]
mod scripted_task;
pub mod task;
