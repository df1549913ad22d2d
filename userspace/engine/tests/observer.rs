// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What an observer is told of a dump and a restore, and that its veto leaves no trace. The tests
//! dump and restore a program on this machine, and are skipped where `crust check` says that it
//! cannot.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crust_engine::check::Need;
use crust_engine::{
    Backend, DumpOptions, DumpRequest, Error, Observer, Place, Point, Reply, RestoreOptions,
    RestoreRequest, check, dump, restore,
};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// Notes the points, and vetoes one of them.
struct Notes {
    vetoed: &'static str,
    /// The names of the points, in a row the same one only once.
    names: Vec<&'static str>,
}

impl Notes {
    fn vetoing(vetoed: &'static str) -> Self {
        Self {
            vetoed,
            names: Vec::new(),
        }
    }
}

impl Observer for Notes {
    fn at(&mut self, point: &Point) -> Reply {
        let name = point.name();
        self.names.push(name);
        self.names.dedup();
        match name == self.vetoed {
            true => Reply::Veto("the test is against it".into()),
            false => Reply::Proceed,
        }
    }
}

/// Returns whether the tests can dump something here.
fn can_dump() -> bool {
    let findings = check::check();
    for item in findings
        .missing()
        .filter(|item| item.need == Need::Required)
    {
        eprintln!("skipped: {} is missing: {}", item.name, item.remedy);
    }
    findings.works
}

/// Sleeps in a session of its own, without descriptors that make or cargo pass on: a pipe of theirs
/// would be refused.
const PROGRAM: &str = "\
    for fd in /proc/$$/fd/*; do
        fd=${fd##*/}
        if ((fd > 2)); then exec {fd}>&-; fi
    done
    exec setsid sleep 1000";

/// Starts a program, and waits until it sleeps.
fn program() -> Child {
    let mut child = Command::new("bash")
        .args(["-c", PROGRAM])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while state(child.id() as i32) != Some(("sleep".into(), "S (sleeping)".into(), "0".into())) {
        assert_eq!(child.try_wait().unwrap(), None, "the program has ended");
        std::thread::yield_now();
    }
    child
}

/// Returns the name of a process, its state and its tracer; `None` if it does not exist.
fn state(pid: i32) -> Option<(String, String, String)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    Some((field("Name:"), field("State:"), field("TracerPid:")))
}

fn dump_to(image: &Path, pid: i32, leave_running: bool, observer: &mut Notes) -> Result<(), Error> {
    let request = DumpRequest {
        pid,
        image: Place::File(image.into()),
        options: DumpOptions {
            leave_running,
            ..DumpOptions::default()
        },
        kill: false,
        backend: Backend::Mainline,
        sync: false,
    };
    dump(&request, observer).map(drop)
}

fn restore_from(image: &Path, observer: &mut Notes) -> Result<i32, Error> {
    let request = RestoreRequest {
        image: Place::File(image.into()),
        options: RestoreOptions::default(),
        backend: Backend::Mainline,
        pidfile: Some(image.with_extension("pid")),
    };
    restore(&request, observer).map(|report| report.pid)
}

/// Asserts that the observer has stopped the work where it wanted to.
fn assert_vetoed<T: std::fmt::Debug>(result: Result<T, Error>, observer: &Notes) {
    let point = observer.vetoed;
    let error = result.unwrap_err();
    let message = format!("vetoed at {point}: the test is against it");
    assert_eq!(error.to_string(), message);
    assert_eq!(observer.names.last(), Some(&point), "nothing follows");
}

/// Returns the names of the files in a directory.
fn names(directory: &Path) -> Vec<OsString> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn the_program_of_a_dump_that_is_vetoed_goes_on() {
    if !can_dump() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("crust.img");
    fs::write(&image, "an older image").unwrap();
    let mut child = program();
    let pid = child.id() as i32;
    let before = state(pid);
    for (point, leave_running) in [
        ("pre-dump", false),
        ("frozen", false),
        ("captured", false),
        ("memory", false),
        ("pages", false),
        ("post-dump", false),
        ("let-go", true),
        ("post-dump", true),
    ] {
        let mut observer = Notes::vetoing(point);
        let result = dump_to(&image, pid, leave_running, &mut observer);
        assert_vetoed(result, &observer);
        while state(pid) != before {
            assert!(state(pid).is_some(), "{point}: the program has ended");
            std::thread::yield_now();
        }
        assert_eq!(names(directory.path()), ["crust.img"], "{point}");
        assert_eq!(fs::read(&image).unwrap(), b"an older image", "{point}");
    }
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
}

#[test]
fn a_restore_that_is_vetoed_leaves_nothing_behind() {
    if !can_dump() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("crust.img");
    let mut child = program();
    let pid = child.id() as i32;
    // It is too late at this point.
    let mut observer = Notes::vetoing("written");
    dump_to(&image, pid, false, &mut observer).unwrap();
    let of_dump = [
        "pre-dump",
        "frozen",
        "captured",
        "memory",
        "pages",
        "post-dump",
        "written",
        "reaped",
    ];
    assert_eq!(observer.names, of_dump);
    assert_eq!(state(pid), None);
    child.wait().expect_err("the dump has reaped it");

    for point in ["planned", "pre-restore", "stages", "pre-resume"] {
        let mut observer = Notes::vetoing(point);
        let result = restore_from(&image, &mut observer);
        assert_vetoed(result, &observer);
        assert_eq!(state(pid), None, "{point}");
        assert_eq!(names(directory.path()), ["crust.img"], "{point}");
    }

    let mut observer = Notes::vetoing("post-resume");
    assert_eq!(restore_from(&image, &mut observer).unwrap(), pid);
    let of_restore = [
        "planned",
        "pre-restore",
        "stages",
        "pre-resume",
        "post-resume",
    ];
    assert_eq!(observer.names, of_restore);
    let root = Pid::from_raw(pid);
    kill(root, Signal::SIGKILL).unwrap();
    let ended = WaitStatus::Signaled(root, Signal::SIGKILL, false);
    assert_eq!(waitpid(root, None).unwrap(), ended);
}
