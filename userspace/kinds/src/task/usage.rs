// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The resource usage of a process and of the children that it has waited for: `times()`, `getrusage()`,
//! `CLOCK_PROCESS_CPUTIME_ID`, and for a zombie what `wait4()` will report.
//!
//! The CPU-time clocks of a process, which anybody may read, cover all its threads, including those that have exited;
//! `/proc/PID/stat` has page faults, and the times of children in ticks; `/proc/PID/io` has the bytes read and written,
//! also by children (kernel/exit.c:wait_task_zombie), whose blocks thus become those of the process. Nothing reports
//! the context switches of exited threads and of children, nor the maximum resident size of children, of programs
//! before an exec, or of zombies: these are counted from zero. What the module has added belongs to the process and not
//! to its threads, whose switches, blocks and size `/proc` shows: a second dump does not see it. Only the module can
//! add to the counters, and no kernel lets anybody set the clocks of single threads.

use std::os::fd::AsFd;

use crust_model::object::State;
use crust_model::plan::{Operation, ProcessId, Stage, TaskHandle};
use crust_model::{Error, Result};
use crust_proc::{Fields, Stat};
use crust_sys::{pidfd, uapi, word};
use crust_tracee::clock;
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::texts::ThreadText;
use nix::errno::Errno;
use nix::time::ClockId;
use serde::{Deserialize, Serialize};

use super::start_time::TICK;
use crate::capture::Capture;
use crate::kind::{Kind, Kinds, OfTree, TreeKind};
use crate::plan_context::PlanCx;

/// The resource usage of all threads of a process. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// `CLOCK_PROCESS_CPUTIME_ID`.
    pub runtime: u64,
    /// The time in user mode as sampled by ticks; the kernel shows the same share of `runtime`.
    pub utime: u64,
    /// The time in the kernel, likewise.
    pub stime: u64,
    /// The time in user mode of the children that the process has waited for.
    pub cutime: u64,
    /// The time in the kernel of these children.
    pub cstime: u64,
    /// Page faults without I/O.
    pub minflt: u64,
    /// Page faults with I/O.
    pub majflt: u64,
    /// Page faults of these children without I/O.
    pub cminflt: u64,
    /// Page faults of these children with I/O.
    pub cmajflt: u64,
    /// Blocks read, of 512 bytes.
    pub inblock: u64,
    /// Blocks written, of 512 bytes.
    pub oublock: u64,
    /// Voluntary context switches.
    pub nvcsw: u64,
    /// Involuntary context switches.
    pub nivcsw: u64,
    /// The maximum resident set size in bytes.
    pub maxrss: u64,
}

impl State for Usage {
    const TAG: u16 = 0x0119;
    const NAME: &'static str = "resources used";
    const VERSION: u16 = 2;
    const SUPPORT: &'static str = "CPU time, page faults, context switches, blocks, the largest size, of the \
                                   process and of zombies; CPU time (in ticks) and page faults of children that \
                                   were waited for (with the module). Lost, since no kernel tells it: context \
                                   switches of threads that have ended; context switches and largest size of \
                                   children, whose blocks count as those of the process; largest size of zombies, \
                                   and of processes before an exec; what of context switches, blocks and largest \
                                   size is from before an earlier restore. CPU clocks of single threads begin anew.";

    fn describe(&self) -> String {
        format!(
            "{} ms of CPU time, children {} ms",
            self.runtime / 1_000_000,
            self.cutime.saturating_add(self.cstime) / 1_000_000
        )
    }
}

// CPU-time clocks of a process (include/linux/posix-timers_types.h).
const CPUCLOCK_PROF: i32 = 0;
const CPUCLOCK_VIRT: i32 = 1;
const CPUCLOCK_SCHED: i32 = 2;

/// Reads a CPU-time clock of a process.
fn cpu_time(pid: i32, which: i32) -> Result<u64> {
    clock::read(ClockId::from_raw(!pid << 3 | which))
}

impl Usage {
    /// Returns the usage of a process; `threads` describes its threads, except a leader that has exited.
    fn of(process: &FrozenProcess, threads: &[ThreadText]) -> Result<Self> {
        let (proc, pid) = (&process.proc, process.pid);
        let utime = cpu_time(pid, CPUCLOCK_VIRT)?;
        let own = Self {
            runtime: cpu_time(pid, CPUCLOCK_SCHED)?,
            utime,
            stime: cpu_time(pid, CPUCLOCK_PROF)?.saturating_sub(utime),
            ..Self::default()
        };
        let ended = (process.zombie.is_some() || process.ended_leader.is_some())
            .then(|| {
                crust_proc::read_text(proc, pid, &format!("task/{pid}/status")).map(Fields::new)
            })
            .transpose()?;
        let statuses = threads.iter().map(|text| &text.status).chain(&ended);
        // A kernel without CONFIG_TASK_IO_ACCOUNTING does not count.
        let io = crust_proc::read_text(proc, pid, "io").unwrap_or_default();
        let stat = crust_proc::stat(proc, pid, "stat")?;
        Ok(own.with(statuses, &Fields::new(io), &stat))
    }

    /// Completes the usage from the files of `/proc`.
    fn with<'a>(
        self,
        statuses: impl Iterator<Item = &'a Fields> + Clone,
        io: &Fields,
        stat: &Stat,
    ) -> Self {
        const BLOCK: u64 = 512;
        let number = |fields: &Fields, name| fields.number(name).map_or(0, word::from_long);
        let sum = |name| statuses.clone().map(|status| number(status, name)).sum();
        let peak = |status: &Fields| {
            let kib: u64 = status.get("VmHWM")?.split(' ').next()?.parse().ok()?;
            Some(kib << 10)
        };
        Self {
            cutime: stat.field(16) * TICK,
            cstime: stat.field(17) * TICK,
            minflt: stat.field(10),
            majflt: stat.field(12),
            cminflt: stat.field(11),
            cmajflt: stat.field(13),
            inblock: number(io, "read_bytes") / BLOCK,
            oublock: number(io, "write_bytes") / BLOCK,
            nvcsw: sum("voluntary_ctxt_switches"),
            nivcsw: sum("nonvoluntary_ctxt_switches"),
            // All threads have the same memory; those that have exited have none.
            maxrss: statuses.clone().find_map(peak).unwrap_or(0),
            ..self
        }
    }

    /// Returns whether there have been children, part of whose usage nothing reports.
    fn has_had_children(&self) -> bool {
        (self.cutime, self.cstime, self.cminflt) != (0, 0, 0)
    }
}

impl Kind for Usage {
    type Source = OfTree;
}

impl TreeKind for Usage {
    /// Captures the usage of all processes, zombies too.
    fn capture(_: Kinds, cx: &mut Capture<'_>) -> Result<()> {
        for (process, (_, threads)) in cx.tree.iter().zip(cx.texts) {
            cx.image.add(process.id, Usage::of(process, threads)?)?;
        }
        Ok(())
    }

    /// Has the module add the usage, before there are timers, which would notice it. Without the module it is lost.
    fn plan(_: Kinds, cx: &mut PlanCx<'_>) -> Result<()> {
        let root = super::tree::number(cx.image, ProcessId(0).leader());
        if !cx.features.add_usage {
            cx.refusals.lose_on_this_kernel(
                "usage",
                "resources used",
                "CPU time and page faults are counted from zero on",
            );
            return Ok(());
        }
        let mut children = false;
        for (owner, usage) in cx.image.all::<Usage>() {
            children |= usage.has_had_children();
            let task = owner.process().leader();
            cx.plan.operate(Stage::Members, task, AddUsage(*usage));
        }
        if children {
            cx.refusals.lose(
                root,
                "usage-children",
                "resources used",
                "no kernel tells how often children that have ended have waited, nor how large they were: that \
                 is counted from zero on",
                "nothing needs to be done, unless the program looks at it (getrusage)",
            );
        }
        Ok(())
    }
}

/// Has the module add to the usage of the process.
#[derive(Debug)]
struct AddUsage(Usage);

impl Operation for AddUsage {
    fn describe(&self) -> String {
        format!(
            "module: add {} ms of CPU time to what it has used",
            self.0.runtime / 1_000_000
        )
    }

    fn run(&self, task: &mut dyn TaskHandle) -> Result<()> {
        let (pid, tid) = (task.pid(), task.tid());
        let failed = |errno| match errno {
            Errno::EOVERFLOW => Error::malformed(
                format!("the resources that process {pid} has used"),
                "are more than can be: the image is damaged",
            ),
            _ => Error::task(tid, "add to the resources used", errno),
        };
        let handle = pidfd::open(pid).map_err(failed)?;
        match task.module()?.add_usage(handle.as_fd(), &(&self.0).into()) {
            Err(Errno::EPERM) => {
                lose_forbidden(task, "resources used");
                Ok(())
            }
            result => result.map_err(failed),
        }
    }
}

/// Reports a value that the kernel does not let crust set: privileges in a user namespace do not suffice for what is
/// visible outside of it.
pub(super) fn lose_forbidden(task: &mut dyn TaskHandle, object: &str) {
    task.lose(
        object,
        "crust is not permitted to set it, because it can be seen from outside of its user namespace: it begins anew",
        "run crust with CAP_CHECKPOINT_RESTORE in the user namespaces around it too",
    );
}

impl From<&Usage> for uapi::Usage {
    fn from(here: &Usage) -> Self {
        let &Usage {
            runtime,
            utime,
            stime,
            cutime,
            cstime,
            minflt,
            majflt,
            cminflt,
            cmajflt,
            inblock,
            oublock,
            nvcsw,
            nivcsw,
            maxrss,
        } = here;
        Self {
            pidfd: -1,
            flags: 0,
            runtime,
            utime,
            stime,
            cutime,
            cstime,
            minflt,
            majflt,
            cminflt,
            cmajflt,
            inblock,
            oublock,
            nvcsw,
            nivcsw,
            maxrss,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_task::{Action, DONE, ScriptedTask, assert_fails};

    #[test]
    fn what_proc_tells() {
        let numbers: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let stat = Stat::parse(format!("7 (a) S {}\n", numbers.join(" ")).as_bytes()).unwrap();
        let status = |switches: u64, more: &str| {
            Fields::new(format!(
                "{more}voluntary_ctxt_switches:\t{switches}\nnonvoluntary_ctxt_switches:\t2\n"
            ))
        };
        // The leader has exited.
        let statuses = [status(3, "VmHWM:\t   12 kB\n"), status(4, "")];
        let io = Fields::new("rchar: 9\nread_bytes: 1024\nwrite_bytes: 512\n".into());
        let usage = Usage::default().with(statuses.iter(), &io, &stat);
        assert_eq!((usage.minflt, usage.majflt), (10, 12));
        assert_eq!((usage.cminflt, usage.cmajflt), (11, 13));
        assert_eq!((usage.cutime, usage.cstime), (16 * TICK, 17 * TICK));
        assert_eq!((usage.nvcsw, usage.nivcsw), (7, 4));
        assert_eq!((usage.inblock, usage.oublock), (2, 1));
        assert_eq!(usage.maxrss, 12 << 10);
    }

    fn add(outcome: nix::Result<u64>) -> (Result<()>, Vec<String>) {
        let usage = Usage {
            runtime: 3,
            maxrss: 4096,
            ..Usage::default()
        };
        let added = uapi::Usage {
            pidfd: -1,
            runtime: 3,
            maxrss: 4096,
            ..uapi::Usage::default()
        };
        let mut task = ScriptedTask::new([(Action::AddUsage(added), outcome)]);
        let result = AddUsage(usage).run(&mut task);
        (result, task.end())
    }

    #[test]
    fn the_module_adds_it() {
        let (result, losses) = add(DONE);
        result.unwrap();
        assert!(losses.is_empty());
    }

    #[test]
    fn what_the_module_does_not_add_is_lost_or_an_error() {
        let (result, losses) = add(Err(Errno::EPERM));
        result.unwrap();
        assert_eq!(losses, ["resources used"]);
        let (result, _) = add(Err(Errno::EOVERFLOW));
        assert!(matches!(result, Err(Error::Malformed { .. })), "{result:?}");
        let (result, _) = add(Err(Errno::EINVAL));
        assert_fails(result, Errno::EINVAL);
    }

    #[test]
    fn the_clocks_of_a_process() {
        let own = std::process::id() as i32;
        let [all, user, run] =
            [CPUCLOCK_PROF, CPUCLOCK_VIRT, CPUCLOCK_SCHED].map(|which| cpu_time(own, which));
        assert!(all.unwrap() >= user.unwrap());
        assert!(run.unwrap() <= clock::read(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap());
        assert!(cpu_time(i32::MAX >> 3, CPUCLOCK_SCHED).is_err());
    }
}
