// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Device nodes that hold no state: opened again by their path.
//!
//! They are told by device number (`Documentation/admin-guide/devices.txt`), not by name. All other
//! devices are refused: what a driver knows about an open file is the driver's secret.

use serde::{Deserialize, Serialize};

use super::bench::Bench;
use super::census::Census;
use super::path::Named;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open, refused, regular};
use crate::Result;
use crate::object::State;
use crate::refusal::Refusals;

/// The minor numbers, of major 1, of null, zero, full, random and urandom.
const STATELESS: [u32; 5] = [3, 5, 7, 8, 9];

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Flags.
    pub open: Open,
    /// Which node.
    pub file: Named,
}

impl State for Device {
    const TAG: u16 = 0x0313;
    const NAME: &'static str = "stateless device";
    const SUPPORT: &'static str = "/dev/null, zero, full, random, urandom, by device number.";

    fn describe(&self) -> String {
        format!("{} ({})", self.file.path, self.open.describe())
    }
}

impl File for Device {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, bench: &mut Bench) -> Result<()> {
        regular::make_by_path(id, bench, &self.file, &self.open, 0)
    }

    fn conflicts(&self, refusals: &mut Refusals) {
        self.file.conflicts(refusals);
    }
}

impl FileKind for Device {
    fn matches(probe: &Probe) -> bool {
        let (major, minor) = (
            libc::major(probe.identity.rdev),
            libc::minor(probe.identity.rdev),
        );
        probe.file_type() == libc::S_IFCHR && major == 1 && STATELESS.contains(&minor)
    }

    fn capture<'a>(probe: &Probe<'a>, census: &mut Census<'a>) -> Result<()> {
        if !probe.is_reachable {
            return refused::refuse_unreachable(probe, census);
        }
        census.keep(
            probe.id,
            &Self {
                open: probe.open(),
                file: Named::new(&probe.link, &probe.identity),
            },
        )
    }
}
