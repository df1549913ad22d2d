// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What a round does by itself, and what it does if a task has died.

use std::sync::{Arc, Mutex};

use crust_model::plan::{Data, Planned, Stage, StayStopped, StopReported};

use super::*;
use crate::dead_task::{LEADER, NUMBER, operation, with_executor};
use crate::work::merge;

/// Returns the steps as those of one stage.
fn todo(steps: &[Step]) -> Vec<Todo<'_>> {
    let steps = steps.iter().map(|step| match step {
        Step::Call(call) => Todo::Call(Cow::Borrowed(call)),
        step => Todo::Step(step),
    });
    steps.collect()
}

fn call(bytes: u64) -> Call {
    let data = Data::new(vec![0; bytes as usize]);
    Call::new("send", libc::SYS_write, [data.into()])
}

/// Returns an operation, and the number of times that it has run.
fn counted() -> (Planned, Arc<Mutex<u32>>) {
    let count = Arc::new(Mutex::new(0));
    let counter = Arc::clone(&count);
    let planned = operation(move |_| {
        *counter.lock().unwrap() += 1;
        Ok(())
    });
    (planned, count)
}

#[test]
fn steps_up_to_the_next_call_are_done_at_once() {
    let (at_once, ran) = counted();
    let (at_end, ran_at_end) = counted();
    let stop = StayStopped {
        signal: libc::SIGSTOP,
        parent: ProcessId(0),
        reported: StopReported::Nothing,
        signal_waits: false,
    };
    let steps = [
        Step::StayStopped(stop),
        Step::CallAtLast(call(1)),
        Step::Reenter(call(1)),
        Step::OperateAtEnd(at_end),
        Step::Operate(at_once),
        Step::Call(call(1)),
        Step::StayStopped(stop),
    ];
    with_executor(|executor| {
        assert_eq!(executor.alone(LEADER, &todo(&steps), 0).unwrap(), 5);
        assert_eq!(executor.stops, [(LEADER, stop)]);
        assert_eq!(executor.last, [(LEADER, call(1))]);
        assert_eq!(executor.reenters, [(LEADER, call(1))]);
        let live = &executor.tasks[&LEADER];
        assert_eq!((live.at_end.len(), live.results.len()), (1, 5));
    });
    let times = [ran, ran_at_end].map(|ran| *ran.lock().unwrap());
    assert_eq!(times, [1, 0]);
}

#[test]
fn work_without_calls_needs_no_round() {
    let (planned, ran) = counted();
    let steps = [Step::Operate(planned.clone()), Step::Operate(planned)];
    with_executor(|executor| {
        let work = Work::from([(LEADER, todo(&steps))]);
        executor.run(&work).unwrap();
    });
    assert_eq!(*ran.lock().unwrap(), 2);
}

#[test]
fn nothing_follows_an_operation_that_fails() {
    let (planned, ran) = counted();
    let fails = operation(|task| Err(Error::task(task.tid(), "fail", Errno::EIO)));
    let steps = [Step::Operate(fails), Step::Operate(planned)];
    let result = with_executor(|executor| {
        let work = Work::from([(LEADER, todo(&steps))]);
        executor.run(&work)
    });
    let message = result.unwrap_err().to_string();
    assert_eq!(message, format!("task {NUMBER}: fail: {}", Errno::EIO));
    assert_eq!(*ran.lock().unwrap(), 0);
}

#[test]
fn steps_of_a_task_that_nobody_makes_are_an_error() {
    let nobody = ProcessId(1).leader();
    let steps = [Step::Call(call(1))];
    let result = with_executor(|executor| {
        let work = Work::from([(nobody, todo(&steps))]);
        executor.run(&work)
    });
    assert!(matches!(result, Err(Error::Malformed { .. })), "{result:?}");
}

#[test]
fn what_can_be_done_depends_on_who_exists() {
    let root = Step::SpawnChild {
        child: ProcessId(0),
        pid: vec![7],
        exit_signal: 0,
        flags: 0,
    };
    let steps = [root, Step::Call(call(1))];
    with_executor(|executor| {
        assert_eq!(executor.done(LEADER, &todo(&steps)), Some(0));
        executor.tasks.clear();
        assert_eq!(
            executor.done(LEADER, &todo(&steps)),
            Some(0),
            "crust makes it"
        );
        assert_eq!(executor.done(LEADER, &todo(&steps[1..])), None);
        let other = ProcessId(1).leader();
        assert_eq!(executor.done(other, &todo(&steps)), None);
    });
}

#[test]
fn a_call_that_no_batch_can_hold_is_an_error() {
    let steps = [Step::Call(call(scratch::SIZE))];
    let result = with_executor(|executor| {
        let steps = todo(&steps);
        let begun = executor.begin(LEADER, &steps, 0, &mut BTreeMap::new());
        begun.map(drop)
    });
    assert!(matches!(result, Err(Error::Malformed { .. })), "{result:?}");
}

#[test]
fn a_call_waits_if_other_threads_have_the_room() {
    let steps = [Step::Call(call(scratch::SIZE / 2))];
    with_executor(|executor| {
        let mut used = BTreeMap::from([(LEADER.process, scratch::SIZE / 2)]);
        let steps = todo(&steps);
        let begun = executor.begin(LEADER, &steps, 0, &mut used);
        assert!(begun.unwrap().is_none());
    });
}

#[test]
fn a_task_that_has_died_is_named() {
    let write = Step::Write {
        label: "write a list".into(),
        address: RemoteAddr(0x1000),
        bytes: vec![1],
    };
    for (step, what) in [
        (Step::Call(call(1)), "write a batch"),
        (write, "write a list"),
    ] {
        let steps = [step];
        let result = with_executor(|executor| {
            let work = Work::from([(LEADER, todo(&steps))]);
            executor.run(&work)
        });
        match result {
            Err(Error::Gone { task, operation }) => {
                assert_eq!((task, operation.as_str()), (NUMBER, what));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_process_closes_the_descriptors_of_the_restore() {
    let mut plan = Plan::default();
    let thread = TaskId {
        thread: 1,
        ..LEADER
    };
    for task in [LEADER, thread] {
        plan.call(Stage::SealMemory, task, call(1));
    }
    let closes = |plan: &Plan, task| {
        let stages: Vec<_> = plan
            .stages()
            .iter()
            .map(|(&stage, all)| (stage, all))
            .collect();
        let close = Todo::Call(Cow::Owned(plan.close_reserved()));
        merge(&stages, plan)[&task].last() == Some(&close)
    };
    assert!(closes(&plan, LEADER));
    assert!(!closes(&plan, thread), "once for each process");
    plan.shared_tables.insert(LEADER.process, 0);
    assert!(!closes(&plan, LEADER), "others have the table too");
}

#[test]
fn a_number_is_taken_if_the_error_says_so() {
    assert!(is_taken::<()>(&Err(Error::system("start", Errno::EEXIST))));
    assert!(is_taken::<()>(&Err(Error::task(7, "fork", Errno::EEXIST))));
    assert!(!is_taken::<()>(&Err(Error::task(7, "fork", Errno::EAGAIN))));
    assert!(!is_taken(&Ok(())));
}

#[test]
fn numbers_of_processes_and_threads_are_planned() {
    let child = Step::SpawnChild {
        child: LEADER.process,
        pid: vec![1, 70],
        exit_signal: 0,
        flags: 0,
    };
    let thread = Step::SpawnThread {
        thread: TaskId {
            process: LEADER.process,
            thread: 1,
        },
        tid: vec![2, 71],
    };
    assert!(Todo::Step(&child).is_birth() && Todo::Step(&thread).is_birth());
    let dismiss = Step::Dismiss {
        child: LEADER.process,
    };
    assert!(!Todo::Step(&dismiss).is_birth());
    let mut plan = Plan::default();
    plan.step(Stage::Spawn, LEADER, child);
    plan.step(Stage::Threads, LEADER, thread);
    assert!([1, 2, 70, 71].map(|number| is_planned(&plan, number)) == [true; 4]);
    assert!(!is_planned(&plan, 72));
}

#[test]
fn patience_ends() {
    let mut numbers = Numbers::default();
    assert!(numbers.wait());
    numbers.since = numbers
        .since
        .and_then(|since| since.checked_sub(Numbers::PATIENCE));
    assert!(!numbers.wait());
}
