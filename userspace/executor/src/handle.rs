// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Operations: what kinds of objects do with a task on their own, through a handle.

use crust_hooks::module::Ckpt;
use crust_model::plan::{Module, Offsets, Plan, Planned, TaskHandle, TaskId};
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};
use crust_sys::stub::{self, TileConfig};
use crust_sys::{RemoteAddr, memory};
use crust_tracee::batch::layout;
use crust_tracee::remote::{Caller, END_OF_BATCH};
use zerocopy::IntoBytes;

use crate::Executor;

/// A stopped task, as the handle of an operation.
struct Handle<'a> {
    id: TaskId,
    caller: Caller,
    plan: &'a Plan,
    module: Option<&'a Ckpt>,
    offsets: Offsets,
    losses: &'a mut Refusals,
}

impl Executor<'_> {
    /// Runs an operation on a task.
    pub(super) fn operate(&mut self, task: TaskId, operation: &Planned) -> Result<()> {
        let caller = self.live(task)?.caller.clone();
        operation.run(&mut Handle {
            id: task,
            caller,
            plan: self.plan,
            module: self.module,
            offsets: self.offsets,
            losses: &mut self.losses,
        })
    }
}

impl TaskHandle for Handle<'_> {
    fn id(&self) -> TaskId {
        self.id
    }

    fn pid(&self) -> i32 {
        self.caller.pid
    }

    fn tid(&self) -> i32 {
        self.caller.tid
    }

    fn call(&self, label: &str, number: i64, args: &[u64]) -> Result<u64> {
        self.caller.call(label, number, args)
    }

    fn memory(&self) -> RemoteAddr {
        self.plan.scratch.offset(layout::BATCHES)
    }

    fn read(&self, label: &str, from: RemoteAddr, into: &mut [u8]) -> Result<()> {
        memory::read(self.tid(), from, into).map_err(|errno| Error::task(self.tid(), label, errno))
    }

    fn write(&self, label: &str, to: RemoteAddr, bytes: &[u8]) -> Result<()> {
        memory::write(self.tid(), to, bytes).map_err(|errno| Error::task(self.tid(), label, errno))
    }

    fn load_tiles(&self) -> Result<()> {
        let at = |offset| self.plan.scratch.offset(offset);
        let (code, config) = (at(layout::CODE), at(layout::TILES));
        let bytes = TileConfig::ONE_TILE.as_bytes();
        self.write("write into scratch memory", config, bytes)?;
        // The batch is empty.
        let start = code.offset(stub::tiles());
        self.caller
            .begin_batch(start, (config, config), END_OF_BATCH)?;
        self.caller.end_batch(code, END_OF_BATCH, &mut Vec::new())?;
        Ok(())
    }

    fn module(&self) -> Result<&dyn Module> {
        match self.module {
            Some(module) => Ok(module),
            None => Err(Error::malformed(
                format!("task {} of the plan", self.id),
                "it needs the module, which is not there",
            )),
        }
    }

    fn offsets(&self) -> (Offsets, Offsets) {
        (self.plan.clocks.before, self.offsets)
    }

    fn lose(&mut self, object: &str, why: &str, remedy: &str) {
        let known = self.losses.as_slice();
        if known.iter().all(|loss| loss.object != object) {
            self.losses
                .lose(self.caller.tid, "value-not-permitted", object, why, remedy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead_task::{LEADER, NUMBER, SCRATCH, operation, with_executor};

    #[test]
    fn an_operation_sees_its_task() {
        let sees = operation(|task| {
            assert_eq!(
                (task.id(), task.pid(), task.tid()),
                (LEADER, NUMBER, NUMBER)
            );
            assert_eq!(task.memory(), SCRATCH.offset(layout::BATCHES));
            assert_eq!(task.offsets().1.boottime, 5);
            assert!(matches!(task.module(), Err(Error::Malformed { .. })));
            let from = task.memory();
            let errors = [
                task.read("read it", from, &mut [0]),
                task.write("write it", from, &[0]),
            ];
            for (error, what) in errors.into_iter().zip(["read it", "write it"]) {
                assert!(error.unwrap_err().to_string().ends_with(what));
            }
            task.lose("start time", "why", "");
            Ok(())
        });
        with_executor(|executor| {
            executor.offsets.boottime = 5;
            executor.operate(LEADER, &sees).unwrap();
            executor.operate(LEADER, &sees).unwrap();
            let losses = executor.losses.as_slice();
            assert_eq!(losses.len(), 1, "the same loss is reported once");
            assert_eq!(
                (losses[0].subject, losses[0].object.as_str()),
                (NUMBER.into(), "start time")
            );
        });
    }
}
