// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Device nodes that hold no state and are restored by opening their path.
//!
//! They are identified by device number (`Documentation/admin-guide/devices.txt`), not by name. All
//! other devices are refused, since crust cannot know what state a driver keeps for an open file.

use super::by_path::PathKind;
use super::probe::Probe;

/// The minor numbers (under major 1) of null, zero, full, random and urandom.
const STATELESS: [u32; 5] = [3, 5, 7, 8, 9];

/// A stateless device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Device {}

impl PathKind for Device {
    const TAG: u16 = 0x0313;
    // Version 1 had no offset.
    const VERSION: u16 = 2;
    const NAME: &'static str = "stateless device";
    const SUPPORT: &'static str = "/dev/null, zero, full, random, urandom, by device number.";

    fn matches(probe: &Probe) -> bool {
        let device = probe.identity.rdev;
        let (major, minor) = (libc::major(device), libc::minor(device));
        probe.file_type() == libc::S_IFCHR && major == 1 && STATELESS.contains(&minor)
    }
}
