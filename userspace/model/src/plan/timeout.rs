// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The remaining timeout of an interrupted system call.

use serde::{Deserialize, Serialize};

/// Where the kernel reads a timeout when the call is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeoutLocation {
    /// In the register of the fourth argument, in milliseconds.
    Register,
    /// In a `struct timespec` of the program.
    Timespec(u64),
    /// In a `struct timeval` of the program.
    Timeval(u64),
    /// In the option `SO_RCVTIMEO` of a socket.
    Receive(i32),
    /// In the option `SO_SNDTIMEO` of a socket.
    Send(i32),
    /// Nowhere: the kernel keeps the remaining time.
    Kernel,
}

/// The remaining timeout of a wait in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// The number of the call.
    pub number: i64,
    /// Where the timeout is stored.
    pub place: TimeoutLocation,
    /// The remaining time in nanoseconds; `None` if the kernel takes care of it.
    pub left: Option<u64>,
}
