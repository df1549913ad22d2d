// SPDX-License-Identifier: Apache-2.0 OR MIT

//! ptrace requests that `nix` lacks.

/// The general registers of an x86-64 task (`struct user_regs_struct`).
pub type UserRegs = libc::user_regs_struct;
