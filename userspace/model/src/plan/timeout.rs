// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is left of the timeout of an interrupted system call.

use serde::{Deserialize, Serialize};

/// Where the kernel reads a limit when the call is begun again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeoutLocation {
    /// In the register of the fourth argument, in milliseconds.
    Register,
    /// In a `struct timespec` of the program.
    Timespec(u64),
    /// In a `struct timeval`.
    Timeval(u64),
    /// In the option `SO_RCVTIMEO` of a socket.
    Receive(i32),
    /// In `SO_SNDTIMEO`.
    Send(i32),
    /// Nowhere: the kernel keeps what is left.
    Kernel,
}

/// The limit of a wait in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// The number of the call.
    pub number: i64,
    /// Where it is.
    pub place: TimeoutLocation,
    /// What was left of it, in nanoseconds; `None` if it is up to the kernel.
    pub left: Option<u64>,
}
