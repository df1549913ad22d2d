// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Objects of System V, which live on without processes.

pub mod sysv_shm;
