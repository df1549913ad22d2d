// SPDX-License-Identifier: Apache-2.0 OR MIT

//! System V IPC objects, which outlive the processes that use them.

pub mod sysv_shm;
