// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The vocabulary: what a plan is, what a refusal is, what can go wrong. Plain data.
//!
//! A restore is planned before anything is touched, so a [`plan::Plan`] is a value: for each stage and task the steps
//! that it takes, printable ([`plan::text`]), the same for the same image. What cannot be carried over is a
//! [`refusal::Refusal`], which is data too. [`object::State`] is what every kind of object has in common: a number in
//! images, a name, words for people.
//!
//! This crate makes no system call. It knows the structures of `crust-sys` that a plan holds, and the records of
//! `crust-image`; it must not know any kind of object, `/proc`, or how a step is done.

#![forbid(unsafe_code)]

pub mod error;
pub mod object;
pub mod plan;
pub mod progress;
pub mod refusal;

pub use self::error::{Error, Result};
