// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A plan as text and as JSON, for `restore --plan`.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{After, Arg, Data, Expect, Plan, Step};
use crate::refusal::Refusal;

/// Formats the plan as text: stage by stage, one line for each step, in the order in which a task
/// executes them.
#[must_use]
pub fn text(plan: &Plan) -> String {
    let mut text = String::new();
    let mut number = 0;
    for (stage, tasks) in &plan.stages {
        let _ = writeln!(text, " {}", name(stage));
        for (task, steps) in tasks {
            let task = task.to_string();
            for step in steps {
                number += 1;
                let _ = writeln!(text, " {number:>5}  {task:<7} {}", describe(step));
            }
        }
    }
    text.push_str(&clocks(plan.clocks.after));
    let _ = writeln!(
        text,
        " scratch memory at {}, descriptors of the restore from {} on",
        plan.scratch, plan.reserved_fds
    );
    text
}

/// Returns the plan and its conflicts as JSON: `conflicts`, and `plan` with `stages`, each of which
/// has `tasks`, each of which has `steps`.
#[must_use]
pub fn json(plan: &Plan, conflicts: &[Refusal]) -> Value {
    let stages: Vec<Value> = plan
        .stages
        .iter()
        .map(|(stage, tasks)| {
            let tasks: Vec<Value> = tasks
                .iter()
                .map(|(task, steps)| {
                    let steps: Vec<Value> = steps.iter().map(step_json).collect();
                    json!({ "process": task.process, "thread": task.thread, "steps": steps })
                })
                .collect();
            json!({ "stage": stage, "tasks": tasks })
        })
        .collect();
    json!({
        "conflicts": conflicts,
        "plan": {
            "stages": stages,
            "scratch": plan.scratch,
            "reserved_fds": plan.reserved_fds,
            "clocks": plan.clocks,
        },
    })
}

fn clocks(after: After) -> String {
    match after {
        After::OfCrust => String::new(),
        After::Shifted(offsets) => format!(
            " in a time namespace that adds {} ns to the monotonic clock, {} ns to that since boot\n",
            offsets.monotonic, offsets.boottime
        ),
        After::Continued {
            monotonic,
            boottime,
        } => format!(
            " in a time namespace where the monotonic clock goes on from {monotonic} ns, that since boot \
             from {boottime} ns\n"
        ),
    }
}

/// Formats `CreateFiles` as `create files`.
fn name(stage: &crate::plan::Stage) -> String {
    let mut name = String::new();
    for letter in format!("{stage:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push(' ');
        }
        name.extend(letter.to_lowercase());
    }
    name
}

fn describe(step: &Step) -> String {
    let numbers = |pid: &[i32]| {
        let numbers: Vec<String> = pid.iter().map(i32::to_string).collect();
        numbers.join("/")
    };
    match step {
        Step::Call(call) => match call.expect {
            Expect::Success | Expect::Exactly(_) => call.label.clone(),
            Expect::Anything => format!("{} (may fail)", call.label),
        },
        Step::Fill(fill) => fill.describe(),
        Step::Write {
            label,
            address,
            bytes,
        } => format!("write {label}: {} bytes at {address}", bytes.len()),
        Step::Operate(operation) | Step::OperateAtEnd(operation) => operation.describe(),
        Step::SpawnChild { child, pid, .. } => {
            format!("make child {child} with pid {}", numbers(pid))
        }
        Step::SpawnThread { thread, tid } => {
            format!("make thread {thread} with tid {}", numbers(tid))
        }
        Step::Dismiss { child } => format!("dismiss child {child}"),
        Step::Exit { status } => format!("become a zombie with status {status:#x}"),
        Step::ExitLeader { status } => {
            format!("the leader ends with status {status:#x}, other threads go on")
        }
        Step::Reenter(call) => format!("begin the interrupted call again: {}", call.label),
        Step::CallAtLast(call) => call.label.clone(),
        Step::SetProcessor(processor) if processor.enters => {
            "set registers, enter the interrupted call again, and set the signal mask".into()
        }
        Step::SetProcessor(_) => "set registers and signal mask".into(),
        Step::StayStopped(stop) => format!("stay stopped by signal {}", stop.signal),
    }
}

/// Returns a step as JSON, with the bytes of arguments in hexadecimal and large states by their
/// size.
fn step_json(step: &Step) -> Value {
    let what = describe(step);
    match step {
        Step::Call(call) | Step::Reenter(call) | Step::CallAtLast(call) => {
            let args: Vec<Value> = call.args.iter().map(argument).collect();
            json!({ "what": what, "syscall": call.nr, "args": args, "expect": call.expect })
        }
        Step::Fill(fill) => {
            let places = fill.pages.ranges().iter().map(|range| fill.place(range));
            let memory: Vec<Value> = places
                .map(|(address, bytes)| json!({ "address": address, "bytes": bytes }))
                .collect();
            json!({ "what": what, "image_offset": fill.offset, "memory": memory })
        }
        Step::SpawnChild {
            exit_signal, flags, ..
        } => json!({ "what": what, "exit_signal": exit_signal, "flags": format!("{flags:#x}") }),
        _ => json!({ "what": what }),
    }
}

fn argument(arg: &Arg) -> Value {
    match arg {
        Arg::Value(value) => json!(value),
        Arg::Data(data) => data_json(data),
        Arg::Returned(call) => json!({ "returned_by_step": call.0 }),
    }
}

fn data_json(data: &Data) -> Value {
    let mut hex = String::with_capacity(2 * data.bytes.len());
    for byte in &data.bytes {
        let _ = write!(hex, "{byte:02x}");
    }
    let pointers: Vec<Value> = data
        .pointers
        .iter()
        .map(|(offset, target)| json!({ "offset": offset, "to": data_json(target) }))
        .collect();
    json!({ "bytes": hex, "pointers": pointers })
}

#[cfg(test)]
mod tests {
    use crust_sys::RemoteAddr;

    use super::*;
    use crate::Runs;
    use crate::plan::{Call, Fill, ProcessId, Stage};

    fn plan() -> Plan {
        let root = ProcessId(0).leader();
        let mut plan = Plan {
            scratch: RemoteAddr(0x1000_0000),
            reserved_fds: 4,
            ..Plan::default()
        };
        plan.step(
            Stage::Spawn,
            root,
            Step::SpawnChild {
                child: ProcessId(1),
                pid: vec![43, 2043],
                exit_signal: 17,
                flags: 0,
            },
        );
        let path = Data::string("/x");
        let open = Call::new(
            "fd 3: open /x",
            libc::SYS_openat,
            [(-100).into(), path.into()],
        );
        let fd = plan.call(Stage::CreateFiles, root, open);
        let close = Call::new("fd 3: close", libc::SYS_close, [fd.into()]).may_fail();
        plan.call(Stage::CreateFiles, root, close);
        let mut pages = Runs::default();
        pages.push(0x1000..0x3000);
        let fill = Fill {
            label: "shared memory".into(),
            offset: 0x5000,
            base: RemoteAddr(0x2000_0000),
            pages,
        };
        plan.step(Stage::FillMemory, root, Step::Fill(fill));
        plan
    }

    #[test]
    fn as_text() {
        insta::assert_snapshot!(text(&plan()), @r"
        spawn
            1  p0.0    make child p1 with pid 43/2043
        create files
            2  p0.0    fd 3: open /x
            3  p0.0    fd 3: close (may fail)
        fill memory
            4  p0.0    shared memory: read 8 KiB
        scratch memory at 0x10000000, descriptors of the restore from 4 on
        ");
    }

    #[test]
    fn as_json() {
        let json = json(&plan(), &[]);
        let step = &json["plan"]["stages"][1]["tasks"][0]["steps"];
        assert_eq!(step[0]["args"][1]["bytes"], "2f7800");
        assert_eq!(step[1]["args"][0]["returned_by_step"], 0);
        assert_eq!(json["plan"]["stages"][1]["stage"], "create_files");
        let fill = &json["plan"]["stages"][2]["tasks"][0]["steps"][0];
        assert_eq!(fill["image_offset"], 0x5000);
        assert_eq!(fill["memory"][0]["bytes"], 0x2000);
    }
}
