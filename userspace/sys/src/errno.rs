// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The error numbers that no program sees, but a tracer does (`include/linux/errno.h`): with them
//! an interrupted call tells the kernel's signal code how it goes on.

/// The call is restarted, unless a handler without `SA_RESTART` runs.
pub const ERESTARTSYS: i64 = 512;
/// The call is restarted in any case.
pub const ERESTARTNOINTR: i64 = 513;
/// The call is restarted, unless a handler runs.
pub const ERESTARTNOHAND: i64 = 514;
/// The call is continued as the restart block of the thread says, unless a handler runs.
pub const ERESTART_RESTARTBLOCK: i64 = 516;
