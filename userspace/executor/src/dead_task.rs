// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An executor for tests, with a task that does not exist: it does all that needs no live task.

use std::fs::File;

use crust_model::Result;
use crust_model::plan::{Operation, Plan, Planned, ProcessId, TaskHandle, TaskId};
use crust_sys::{RemoteAddr, ptrace};
use crust_tracee::remote::Caller;

use crate::{Executor, Live};

/// The leader of the root.
pub const LEADER: TaskId = TaskId {
    process: ProcessId(0),
    thread: 0,
};
/// No task has this number, which is above `PID_MAX_LIMIT` (include/linux/threads.h).
pub const NUMBER: i32 = i32::MAX;

/// The address of the scratch memory.
pub const SCRATCH: RemoteAddr = RemoteAddr(0x10_0000);

/// Returns a task that has died.
fn dead() -> Live {
    let registers = [0; size_of::<ptrace::UserRegs>()];
    Live::new(Caller {
        pid: NUMBER,
        tid: NUMBER,
        instruction: RemoteAddr(0),
        template: ptrace::registers_from_bytes(&registers).unwrap(),
    })
}

/// Calls `test` with an executor that has a dead task, the leader of the root.
pub fn with_executor<T>(test: impl FnOnce(&mut Executor<'_>) -> T) -> T {
    let mut plan = Plan::default();
    plan.scratch = SCRATCH;
    let null = File::open("/dev/null").unwrap();
    let mut executor = Executor::new(&plan, &null, None);
    executor.tasks.insert(LEADER, dead());
    test(&mut executor)
}

/// An operation that calls a function.
struct Run<F>(F);

impl<F> std::fmt::Debug for Run<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Run")
    }
}

impl<F: Fn(&mut dyn TaskHandle) -> Result<()> + Send + Sync> Operation for Run<F> {
    fn describe(&self) -> String {
        "run".into()
    }

    fn run(&self, task: &mut dyn TaskHandle) -> Result<()> {
        self.0(task)
    }
}

/// Returns an operation that calls a function.
pub fn operation(
    run: impl Fn(&mut dyn TaskHandle) -> Result<()> + Send + Sync + 'static,
) -> Planned {
    Planned::new(Run(run))
}
