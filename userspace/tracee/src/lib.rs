// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Stopped tasks: how a tree is frozen, and how a stopped task is made to execute system calls.
//!
//! * [`freeze`] stops every thread of a tree with ptrace, [`stopped`] reads the state in which it
//!   was stopped, and [`kill`] ends the tree; [`frozen_process`] is the view of it that the rest of
//!   a dump works with.
//! * [`remote`] makes a stopped task execute one system call, through the `syscall` instruction of
//!   its own vDSO; [`batch`] makes it execute many with a single stop. [`spawn`] makes the first
//!   task of a restore.
//! * [`syscall_timeout`] computes how long the call in which a task was stopped would have
//!   continued to wait.
//!
//! Every temporary state of a task has a guard that undoes it. This crate may use ptrace and `/proc`; it must not know
//! any kind of object, the format of images, or whether there is a module.

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

pub mod batch;
pub mod clock;
pub mod deadline;
mod denied;
pub mod freeze;
pub mod frozen_process;
pub mod instruction;
pub mod interrupt;
pub mod kill;
pub mod parallel;
pub mod privileges;
pub mod remote;
pub mod security_labels;
pub mod spawn;
pub mod stopped;
pub mod syscall_timeout;
pub mod texts;
