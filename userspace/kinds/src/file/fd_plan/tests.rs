// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tests the plans of a few descriptors, call by call.

use crust_hooks::KernelFeatures;
use crust_model::object::State;
use crust_model::plan::Step;
use crust_model::refusal::Refusals;

use super::*;
use crate::descriptor::table::Slot;
use crate::file::Open;
use crate::file::eventfd::Eventfd;
use crate::file::pipe::{Pipe, PipeEnd, Place};
use crate::plan_context::RestoreOptions;
use crate::registry::KINDS;

fn table(pid: i32, slots: &[(i32, u32)]) -> Table {
    let slot = |&(number, id)| Slot {
        number,
        cloexec: false,
        description: DescriptionId(id),
    };
    Table {
        pid,
        slots: slots.iter().map(slot).collect(),
        ..Table::default()
    }
}

fn open(flags: i32) -> Open {
    Open {
        flags,
        ..Open::default()
    }
}

/// Returns the purpose of each call of a plan, in order.
fn calls(tables: &[Table], files: &[crust_image::Record]) -> Result<Vec<String>> {
    let mut records = files.to_vec();
    for (process, table) in (0..).zip(tables) {
        records.push(table.record(ProcessId(process))?);
    }
    let image = KINDS.decode(&records, &mut Refusals::default())?;
    let options = RestoreOptions::default();
    let mut cx = PlanCx::new(&image, KernelFeatures::default(), &options, (1, 1));
    super::plan(KINDS, &mut cx)?;
    let mut calls = Vec::new();
    for tasks in cx.plan.stages().values() {
        for (task, steps) in tasks {
            for step in steps {
                if let Step::Call(call) = step {
                    calls.push(format!("{task} {}", call.label));
                }
            }
        }
    }
    Ok(calls)
}

fn eventfd(id: u32) -> crust_image::Record {
    let state = Eventfd {
        open: open(0),
        count: 7,
        is_semaphore: false,
    };
    state.record((id, 0)).unwrap()
}

/// Each process that shares a table has its own number for what it opens temporarily.
#[test]
fn sharers_have_numbers_of_their_own() {
    let shared = Table {
        shares: Some(ProcessId(0)),
        ..table(11, &[])
    };
    let calls = calls(&[table(10, &[(0, 0)]), shared], &[eventfd(0)]).unwrap();
    assert_eq!(
        calls,
        [
            "p0.0 fd 0: eventfd, count 7",
            "p0.0 fd 12: keep it free for p1",
            "p0.0 fd 11: keep it free for p0",
            "p0.0 close the descriptors of the restore",
        ]
    );
}

#[test]
fn the_first_process_makes_it_and_the_second_takes_it() {
    let tables = [table(10, &[(0, 0), (3, 0)]), table(11, &[(5, 0)])];
    assert_eq!(
        calls(&tables, &[eventfd(0)]).unwrap(),
        [
            "p0.0 fd 0: eventfd, count 7",
            "p0.0 fd 3: duplicate fd 0",
            "p1.0 pidfd_open of p0, pid 10",
            "p1.0 fd 16: move it here",
            "p1.0 fd 16: close where it was",
            "p1.0 fd 5: the one of p0, fd 0",
            "p1.0 fd 5: move it here",
            "p1.0 fd 5: close where it was",
            "p1.0 fd 16: close",
            "p1.0 close what only the restore needed",
        ]
    );
}

#[test]
fn a_pipe_that_lands_where_it_belongs_is_made_by_one_call() {
    let ends = vec![
        (DescriptionId(0), libc::O_RDONLY),
        (DescriptionId(1), libc::O_WRONLY),
    ];
    let pipe = Pipe {
        name: None,
        ends,
        capacity: 65536,
        contents: b"abc".to_vec(),
        awaits_writer: false,
    };
    let read = PipeEnd {
        open: open(libc::O_RDONLY),
        pipe: Place::Here(pipe),
    };
    let write = PipeEnd {
        open: open(libc::O_WRONLY | libc::O_NONBLOCK),
        pipe: Place::With(DescriptionId(0)),
    };
    let files = [read.record((0, 0)).unwrap(), write.record((1, 0)).unwrap()];
    assert_eq!(
        calls(&[table(10, &[(0, 0), (1, 1)])], &files).unwrap(),
        [
            "p0.0 make a pipe",
            "p0.0 fd 0: set close-on-exec",
            "p0.0 fd 1: set close-on-exec",
            "p0.0 fd 1: write 3 bytes",
            "p0.0 fd 1: set its flags",
        ]
    );
}

#[test]
fn an_image_that_lacks_a_description_is_malformed() {
    let tables = [table(10, &[(0, 9)])];
    let error = calls(&tables, &[eventfd(0)]).unwrap_err();
    assert!(matches!(error, Error::Malformed { .. }), "{error}");
}
