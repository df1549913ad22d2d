// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Raw Linux interfaces that `nix` lacks: the only crate of crust with `unsafe`.

pub mod addr;
pub mod pagemap;
pub mod ptrace;
#[path = "../../../rust-module/uapi.rs"]
#[expect(
    missing_docs,
    reason = "fields named `flags` and `pad` mean the same everywhere"
)]
pub mod uapi;

pub use addr::RemoteAddr;
