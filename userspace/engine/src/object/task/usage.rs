// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The resources that a process has used, and those that its children have that it has waited for:
//! `times()`, `getrusage()`, `CLOCK_PROCESS_CPUTIME_ID`, and of a zombie what `wait4()` will tell.
//!
//! The module reads them exactly; `/proc/PID/stat` has them in ticks, and without the largest size of
//! children, blocks and context switches. Only the module can have them counted on. The clocks of single
//! threads begin anew: no kernel lets anybody set them.

use crust_sys::uapi;
use serde::{Deserialize, Serialize};

use super::started::TICK;
use crate::Result;
use crate::capture::Capture;
use crate::object::State;
use crate::plan::{ProcessId, Stage, Step};
use crate::procfs::{self, Stat};
use crate::resolve::Resolve;
use crate::subject::FrozenProcess;

/// As `getrusage(2)` counts them; times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Time in user mode.
    pub utime: u64,
    /// Time in the kernel.
    pub stime: u64,
    /// Page faults without input.
    pub minflt: u64,
    /// Page faults with input.
    pub majflt: u64,
    /// Blocks read, of 512 bytes.
    pub inblock: u64,
    /// Blocks written, of 512 bytes.
    pub oublock: u64,
    /// Times that it waited for something.
    pub nvcsw: u64,
    /// Times that another task had its turn.
    pub nivcsw: u64,
    /// The most memory that was resident, in bytes.
    pub maxrss: u64,
}

/// Of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// `CLOCK_PROCESS_CPUTIME_ID`, in nanoseconds.
    pub runtime: u64,
    /// All its threads, also those that have exited.
    pub own: Counts,
    /// The children that it has waited for.
    pub children: Counts,
}

impl State for Usage {
    const TAG: u16 = 0x0119;
    const NAME: &'static str = "resources used";
    const SUPPORT: &'static str = "CPU time, page faults, context switches, blocks, the largest size; \
                                   of the process, of children that were waited for, of zombies \
                                   (with the module). CPU clocks of single threads begin anew.";

    fn describe(&self) -> String {
        format!(
            "{} ms of CPU time, children {} ms",
            self.runtime / 1_000_000,
            (self.children.utime + self.children.stime) / 1_000_000
        )
    }
}

impl Usage {
    /// As far as `/proc/PID/stat` tells.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub fn of(process: &FrozenProcess) -> Result<Self> {
        Ok(Self::from_stat(&procfs::stat(
            &process.proc,
            process.pid,
            "stat",
        )?))
    }

    fn from_stat(stat: &Stat) -> Self {
        let counts = |utime, stime, minflt, majflt| Counts {
            utime: stat.field(utime) * TICK,
            stime: stat.field(stime) * TICK,
            minflt: stat.field(minflt),
            majflt: stat.field(majflt),
            ..Counts::default()
        };
        let own = counts(14, 15, 10, 12);
        Self {
            runtime: own.utime + own.stime,
            own,
            children: counts(16, 17, 11, 13),
        }
    }
}

/// Captures it, also of a zombie.
///
/// # Errors
///
/// What broke.
pub fn capture(process: &FrozenProcess, capture: &mut Capture<'_>) -> Result<()> {
    let usage = capture.hooks.usage(process)?;
    capture.records.push(usage.record(process.id.0, 0)?);
    Ok(())
}

/// Has the module add it, before there are timers, which would be told; else it is lost.
///
/// # Errors
///
/// What in the image makes no sense.
pub fn plan(resolve: &mut Resolve<'_>) -> Result<()> {
    let records = resolve.records;
    for record in records.iter().filter(|record| record.tag == Usage::TAG) {
        let usage = Usage::from_record(record)?;
        let process = ProcessId(record.owner);
        if resolve.abilities.add_usage {
            resolve
                .plan
                .step(Stage::Members, process.leader(), Step::AddUsage(usage));
        }
    }
    if !resolve.abilities.add_usage {
        let root = super::tree::members(records)?.first().map(|root| root.pid);
        resolve.refusals.lose(
            root.unwrap_or_default(),
            "resources used",
            "on this kernel CPU time and page faults of the processes are counted from zero on",
            "load the module",
        );
    }
    Ok(())
}

impl From<&uapi::Rusage> for Counts {
    fn from(there: &uapi::Rusage) -> Self {
        let &uapi::Rusage {
            utime,
            stime,
            minflt,
            majflt,
            inblock,
            oublock,
            nvcsw,
            nivcsw,
            maxrss,
        } = there;
        Self {
            utime,
            stime,
            minflt,
            majflt,
            inblock,
            oublock,
            nvcsw,
            nivcsw,
            maxrss,
        }
    }
}

impl From<&Counts> for uapi::Rusage {
    fn from(here: &Counts) -> Self {
        let &Counts {
            utime,
            stime,
            minflt,
            majflt,
            inblock,
            oublock,
            nvcsw,
            nivcsw,
            maxrss,
        } = here;
        Self {
            utime,
            stime,
            minflt,
            majflt,
            inblock,
            oublock,
            nvcsw,
            nivcsw,
            maxrss,
        }
    }
}

impl From<&uapi::Usage> for Usage {
    fn from(there: &uapi::Usage) -> Self {
        Self {
            runtime: there.runtime,
            own: (&there.own).into(),
            children: (&there.children).into(),
        }
    }
}

impl From<&Usage> for uapi::Usage {
    fn from(here: &Usage) -> Self {
        Self {
            runtime: here.runtime,
            own: (&here.own).into(),
            children: (&here.children).into(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_found_in_stat() {
        let fields: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let stat = Stat::parse(format!("7 (a) S {}\n", fields.join(" ")).as_bytes()).unwrap();
        let usage = Usage::from_stat(&stat);
        assert_eq!(usage.own.utime, 14 * TICK);
        assert_eq!(usage.runtime, (14 + 15) * TICK);
        assert_eq!((usage.own.minflt, usage.own.majflt), (10, 12));
        assert_eq!(usage.children.stime, 17 * TICK);
        assert_eq!((usage.children.minflt, usage.children.majflt), (11, 13));
    }
}
