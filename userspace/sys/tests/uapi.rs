// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Checks that `uapi.rs` and `include/uapi/linux/ckpt.h` of the patch series agree: every field has
//! the same offset, every constant has the same value, and nothing is missing on either side.
//!
//! The C compiler reads the header, as any program that includes it would.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

use crust_sys::device::number;
use crust_sys::uapi::*;

/// Returns the header, which qemu-test/build/abi extracts from the series.
fn header(dir: &Path) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../qemu-test/build/abi");
    let output = Command::new("bash")
        .arg(script)
        .arg(dir)
        .output()
        .expect("bash, for qemu-test/build/abi");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "qemu-test/build/abi: {error}");
    let text = fs::read_to_string(dir.join("linux/ckpt.h")).expect("the header");
    without_comments(&text)
}

fn without_comments(text: &str) -> String {
    let mut parts = text.split("/*");
    let first = parts.next().unwrap_or_default().to_owned();
    let code = |part: &str| {
        part.split_once("*/")
            .expect("the end of a comment")
            .1
            .to_owned()
    };
    first + &parts.map(code).collect::<String>()
}

/// Returns the value of each expression according to C.
fn ask_c(dir: &Path, expressions: &[String]) -> BTreeMap<String, u64> {
    let mut program = String::from(
        "#include <linux/ckpt.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{\n",
    );
    for expression in expressions {
        writeln!(
            program,
            "\tprintf(\"%llu\\n\", (unsigned long long)({expression}));"
        )
        .expect("a string");
    }
    program.push_str("}\n");
    fs::write(dir.join("ask.c"), program).expect("the program");

    let compiler = env::var("CC").unwrap_or_else(|_| "gcc".into());
    let status = Command::new(&compiler)
        .args(["-std=gnu11", "-Wall", "-Werror", "-I."])
        .args(["-o", "ask", "ask.c"])
        .current_dir(dir)
        .status()
        .unwrap_or_else(|error| {
            panic!("without {compiler} the header cannot be compared with uapi.rs: {error}")
        });
    assert!(
        status.success(),
        "the header does not compile, or lacks what uapi.rs has"
    );
    let answer = Command::new(dir.join("ask")).output().expect("the program");
    let answer = String::from_utf8(answer.stdout).expect("numbers");
    let values = answer.lines().map(|line| line.parse().expect("a number"));
    let answers: BTreeMap<_, _> = expressions.iter().cloned().zip(values).collect();
    assert_eq!(answers.len(), expressions.len());
    answers
}

/// Both sides of everything that is compared: the C expression, and the Rust value.
#[derive(Default)]
struct Twins {
    values: Vec<(String, u64)>,
    /// The fields of each structure.
    fields: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Twins {
    fn add(&mut self, c: impl Into<String>, rust: impl TryInto<u64>) {
        let rust = rust.try_into().ok().expect("a value that fits");
        self.values.push((c.into(), rust));
    }
}

/// Compares the size of a structure, and the offset and size of each field. A field that is not
/// listed does not compile.
macro_rules! structure {
    ($twins:ident, $rust:ident, $c:literal, { $($field:ident),* $(,)? }) => {
        let c = concat!("struct ", $c);
        $twins.add(format!("sizeof({c})"), size_of::<$rust>());
        $twins.add(format!("_Alignof({c})"), align_of::<$rust>());
        $({
            let name = stringify!($field);
            let offset = std::mem::offset_of!($rust, $field);
            $twins.add(format!("offsetof({c}, {name})"), offset);
            let size = |value: &$rust| size_of_val(&value.$field);
            $twins.add(format!("sizeof((({c} *)0)->{name})"), size(&zeroed()));
        })*
        let _all_are_listed = |value: $rust| {
            let $rust { $($field: _),* } = value;
        };
        $twins.fields.insert($c, vec![$(stringify!($field)),*]);
    };
}

fn zeroed<T: zerocopy::FromBytes>() -> T {
    zerocopy::FromZeros::new_zeroed()
}

fn structures(twins: &mut Twins) {
    structure!(twins, SetPid, "ckpt_set_pid", { pidfd, flags, count, nr });
    structure!(twins, SetIds, "ckpt_set_ids", { pidfd, flags, pgid, sid });
    structure!(twins, SetStart, "ckpt_set_start", { pidfd, flags, start_boottime });
    structure!(twins, Usage, "ckpt_usage", {
        pidfd, flags, runtime, utime, stime, cutime, cstime, minflt, majflt, cminflt, cmajflt,
        inblock, oublock, nvcsw, nivcsw, maxrss,
    });
    structure!(twins, Sigaction, "ckpt_sigaction", { handler, flags, restorer, mask });
    structure!(twins, Sigactions, "ckpt_sigactions", { pidfd, flags, action });
    structure!(twins, Restart, "ckpt_restart", { kind, clock, remaining, addr, val, pad });
    structure!(twins, Thread, "ckpt_thread", {
        pidfd, flags, clear_child_tid, sas_sp, sas_size, sas_flags, pdeath_signal, timer_slack,
        default_timer_slack, securebits, pad, restart,
    });
    structure!(twins, Itimer, "ckpt_itimer", { value, interval });
    structure!(twins, Process, "ckpt_process", { pidfd, flags, brk, itimer, state, membarrier });
    structure!(twins, Tcp, "ckpt_tcp", {
        fd, flags, child, state, recv_buf, recv_len, send_buf, send_len, cookie, recv_bytes,
        send_bytes, write_seq, snd_una, snd_nxt, rcv_nxt, copied_seq, rcv_wup, snd_wl1, snd_wnd,
        max_window, rcv_wnd, timestamp, ts_recent, mss_clamp, urgent, urg_seq,
    });
    structure!(twins, Message, "ckpt_message", {
        len, fds, scope_id, peer_port, pad, peer,
    });
    structure!(twins, Messages, "ckpt_messages", {
        fd, flags, child, corked, buf, len, size,
    });
}

/// The numbers of a request, and the size of the first version of its structure, which `of` names
/// in C.
fn request<T: Request>(of: &str, sizes: &mut Vec<(String, u64)>, twins: &mut Twins) {
    twins.add(format!("CKPT_NR_{}", T::NAME), T::NR);
    twins.add(format!("CKPT_IOC_{}", T::NAME), number::<T>());
    sizes.push((format!("CKPT_{of}_SIZE_VER0"), size_of::<T>() as u64));
}

fn constants(twins: &mut Twins) {
    for (name, value) in [
        ("CKPT_IOC_MAGIC", CKPT_IOC_MAGIC),
        ("CKPT_MAX_LEVEL", CKPT_MAX_LEVEL as u32),
        ("CKPT_NSIG", CKPT_NSIG as u32),
        ("CKPT_RESTART_NONE", restart::NONE),
        ("CKPT_RESTART_NANOSLEEP", restart::NANOSLEEP),
        ("CKPT_RESTART_POLL", restart::POLL),
        ("CKPT_RESTART_FUTEX", restart::FUTEX),
        ("CKPT_RESTART_OTHER", restart::OTHER),
        (
            "CKPT_PROCESS_CHILD_SUBREAPER",
            process_state::CHILD_SUBREAPER,
        ),
        ("CKPT_PROCESS_AUTOREAP", process_state::AUTOREAP),
        ("CKPT_PROCESS_THP_DISABLE", process_state::THP_DISABLE),
        (
            "CKPT_PROCESS_THP_DISABLE_EXCEPT_ADVISED",
            process_state::THP_DISABLE_EXCEPT_ADVISED,
        ),
    ] {
        twins.add(name, value);
    }
}

/// Returns the fields of each structure of the header.
fn fields_of_c(header: &str) -> BTreeMap<&str, Vec<&str>> {
    let declared = header.split("\nstruct ").skip(1).map(|rest| {
        let (name, rest) = rest.split_once(" {").expect("a structure");
        let (body, _) = rest.split_once("};").expect("its end");
        let field = |line: &'_ str| -> Option<usize> { line.find(['[', ';']) };
        let fields = body
            .lines()
            .filter_map(|line| line[..field(line)?].split_whitespace().last());
        (name, fields.collect())
    });
    declared.collect()
}

#[test]
fn c_and_rust_agree() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("uapi");
    let header = header(&dir);
    let mut twins = Twins::default();
    structures(&mut twins);
    constants(&mut twins);
    let mut sizes = Vec::new();
    request::<SetPid>("SET_PID", &mut sizes, &mut twins);
    request::<SetIds>("SET_IDS", &mut sizes, &mut twins);
    request::<SetStart>("SET_START", &mut sizes, &mut twins);
    request::<Usage>("USAGE", &mut sizes, &mut twins);
    request::<Sigactions>("SIGACTIONS", &mut sizes, &mut twins);
    request::<Thread>("THREAD", &mut sizes, &mut twins);
    request::<Process>("PROCESS", &mut sizes, &mut twins);
    request::<Tcp>("TCP", &mut sizes, &mut twins);
    request::<Messages>("MESSAGES", &mut sizes, &mut twins);

    let values = twins.values.iter().chain(&sizes);
    let expressions: Vec<String> = values.map(|(c, _)| c.clone()).collect();
    let answers = ask_c(&dir, &expressions);
    for (expression, rust) in &twins.values {
        assert_eq!(answers[expression], *rust, "{expression}");
    }
    for (first, ours) in &sizes {
        assert!(answers[first] <= *ours, "{first}");
    }

    assert_eq!(fields_of_c(&header), twins.fields);
    // Nor has a constant of C been forgotten here.
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let words = header.split(|letter| !is_part(letter));
    let constants: BTreeSet<&str> = words.filter(|word| word.starts_with("CKPT_")).collect();
    for name in constants {
        assert!(answers.contains_key(name), "{name} is not compared");
    }
}
