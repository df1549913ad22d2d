// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The vocabulary: plans, refusals and errors, as plain data.
//!
//! A restore is planned before anything is touched, so a [`plan::Plan`] is a value: for each stage
//! and task it has the steps to take. It can be printed ([`plan::text`]), and is the same for the
//! same image. An object that cannot be carried over is a [`refusal::Refusal`], which is data too.
//! [`object::State`] is what all kinds of objects have in common: a number in images, a name, and a
//! description for users. An [`image::Image`] has all objects of a tree, with their types.
//!
//! What a dump or restore changes outside of the tree is an [`effect::Effect`]; an
//! [`observer::Observer`] is told how it proceeds.
//!
//! This crate makes no system call. It knows the structures of `crust-sys` that a plan holds, and
//! the records of `crust-image`; it must not know any kind of object, `/proc`, or how a step is
//! carried out.

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

pub mod effect;
pub mod error;
pub mod image;
pub mod index;
pub mod object;
pub mod observer;
pub mod plan;
pub mod refusal;
pub mod runs;
pub mod words;

pub use self::error::{Error, Result};
pub use self::runs::Runs;
