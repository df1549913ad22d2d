// SPDX-License-Identifier: Apache-2.0 OR MIT

//! `rust-module/uapi.rs` and its twin for C, `include/uapi/linux/ckpt.h` of the patch series, say
//! the same: every field at the same place, every constant with the same value.
//!
//! The C compiler is asked, as whoever includes the header would ask it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use crust_sys::uapi::*;

const HEADER: &str = "include/uapi/linux/ckpt.h";

/// The header as the series leaves it: the lines that the patches add to it.
///
/// Only one patch may touch it, so that nothing has to be applied.
fn header() -> String {
    let series = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kernel-patches");
    let mut found: Vec<String> = Vec::new();
    for entry in fs::read_dir(series).expect("kernel-patches") {
        let path = entry.expect("kernel-patches").path();
        if path
            .extension()
            .is_none_or(|extension| extension != "patch")
        {
            continue;
        }
        let patch = fs::read_to_string(&path).expect("a patch");
        let mut lines = patch.lines();
        if lines.any(|line| line == format!("+++ b/{HEADER}")) {
            let body = lines.take_while(|line| !line.starts_with("diff ") && *line != "-- ");
            let added = body.filter_map(|line| line.strip_prefix('+'));
            found.push(added.fold(String::new(), |text, line| text + line + "\n"));
        }
    }
    assert_eq!(found.len(), 1, "patches that touch {HEADER}");
    found.remove(0)
}

/// What C says: the value of each expression.
fn ask_c(expressions: &[String]) -> BTreeMap<String, u64> {
    let dir: PathBuf = Path::new(env!("CARGO_TARGET_TMPDIR")).join("uapi");
    fs::create_dir_all(dir.join("linux")).expect("a directory");
    fs::write(dir.join("linux/ckpt.h"), header()).expect("the header");
    let mut program = String::from(
        "#include <linux/ckpt.h>\n#include <linux/tcp.h>\n#include <stddef.h>\n#include <stdio.h>\nint main(void)\n{\n",
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

    let cc = env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(cc)
        .args(["-std=gnu11", "-Wall", "-Werror", "-I."])
        .args(["-o", "ask", "ask.c"])
        .current_dir(&dir)
        .status()
        .expect("a C compiler");
    assert!(status.success(), "the header does not compile");
    let answer = Command::new(dir.join("ask")).output().expect("the program");
    let answer = String::from_utf8(answer.stdout).expect("numbers");
    let values = answer.lines().map(|line| line.parse().expect("a number"));
    let answers: BTreeMap<_, _> = expressions.iter().cloned().zip(values).collect();
    assert_eq!(answers.len(), expressions.len());
    answers
}

/// Both sides of everything that is compared: the expression of C, and the value of Rust.
#[derive(Default)]
struct Twins(Vec<(String, u64)>);

impl Twins {
    fn add(&mut self, c: impl Into<String>, rust: impl TryInto<u64>) {
        let rust = rust.try_into().ok().expect("a value that fits");
        self.0.push((c.into(), rust));
    }
}

/// Compares the size of a structure, and place and size of each field. A field that is not listed
/// does not compile. `rust => c` is for a field whose name C does not allow.
macro_rules! structure {
    ($twins:ident, $rust:ident, $c:literal, { $($field:ident $(=> $other:ident)?),* $(,)? }) => {
        let c = concat!("struct ", $c);
        $twins.add(format!("sizeof({c})"), size_of::<$rust>());
        $twins.add(format!("_Alignof({c})"), align_of::<$rust>());
        $({
            let name = [$(stringify!($other),)? stringify!($field)][0];
            let offset = std::mem::offset_of!($rust, $field);
            $twins.add(format!("offsetof({c}, {name})"), offset);
            let size = |value: &$rust| size_of_val(&value.$field);
            $twins.add(format!("sizeof((({c} *)0)->{name})"), size(&zeroed()));
        })*
        let _all_are_listed = |value: $rust| {
            let $rust { $($field: _),* } = value;
        };
    };
}

fn zeroed<T: zerocopy::FromBytes>() -> T {
    zerocopy::FromZeros::new_zeroed()
}

fn structures(twins: &mut Twins) {
    structure!(twins, Version, "ckpt_version", { abi, flags, features });
    structure!(twins, SetPid, "ckpt_set_pid", { pidfd, flags, count, pad, nr });
    structure!(twins, SetIds, "ckpt_set_ids", { pidfd, flags, pgid, sid });
    structure!(twins, SetStart, "ckpt_set_start", { pidfd, flags, start_time, start_boottime });
    structure!(twins, Sigaction, "ckpt_sigaction", { handler, flags, restorer, mask });
    structure!(twins, Sigactions, "ckpt_sigactions", { pidfd, flags, action });
    structure!(twins, Restart, "ckpt_restart", {
        kind, clock, remaining, addr, val, pad,
    });
    structure!(twins, Thread, "ckpt_thread", {
        pidfd, flags, clear_child_tid, sas_sp, sas_size, sas_flags, pdeath_signal, timer_slack,
        default_timer_slack, securebits, pad, restart,
    });
    structure!(twins, Itimer, "ckpt_itimer", { value, interval });
    structure!(twins, Process, "ckpt_process", {
        pidfd, flags, start_time, start_boottime, brk, itimer, state, membarrier,
    });
    structure!(twins, Rusage, "ckpt_rusage", {
        utime, stime, minflt, majflt, inblock, oublock, nvcsw, nivcsw, maxrss,
    });
    // `self` is a word of Rust.
    structure!(twins, Usage, "ckpt_usage", { pidfd, flags, runtime, own => self, children });
    structure!(twins, Inet, "ckpt_inet", { local, peer, local_port, peer_port, ifindex });
    structure!(twins, Tcp, "ckpt_tcp", {
        write_seq, snd_una, snd_nxt, rcv_nxt, copied_seq, rcv_wup, snd_wl1, snd_wnd, max_window,
        rcv_wnd, recv_bytes, send_bytes, mss_clamp, snd_wscale, rcv_wscale, options, timestamp,
        ts_recent, congestion,
    });
    structure!(twins, Unix, "ckpt_unix", {
        peer_ino, peer_cookie, recv_bytes, recv_messages, recv_fds, name_len, name, pad,
    });
    structure!(twins, Pending, "ckpt_pending", { peer_ino, inet, state, recv_bytes });
    // `unix` is a macro of GNU C.
    structure!(twins, Socket, "ckpt_socket", {
        pidfd, fd, flags, pending_room, pending_buf, mask, pending, backlog, buf_lock, family,
        socket_type, protocol, shutdown, state, error, error_soft, error_queue, sndbuf, rcvbuf,
        pad, inet, tcp, unix => un,
    });
    structure!(twins, SocketQueue, "ckpt_socket_queue", {
        pidfd, fd, flags, queue, message, pad, buf, len, size,
    });
}

/// `_IOC()` of x86 and most others, `include/uapi/asm-generic/ioctl.h`.
fn ioctl(direction: u64, number: u32, size: usize) -> u64 {
    direction << 30 | (size as u64) << 16 | u64::from(CKPT_IOC_MAGIC) << 8 | u64::from(number)
}

fn constants(twins: &mut Twins) {
    const WRITE: u64 = 1;
    const WRITE_AND_READ: u64 = 3;

    twins.add("CKPT_IOC_MAGIC", CKPT_IOC_MAGIC);
    twins.add("CKPT_ABI", CKPT_ABI);
    twins.add("CKPT_MAX_LEVEL", CKPT_MAX_LEVEL);
    twins.add("CKPT_NSIG", CKPT_NSIG);
    for (name, direction, number, size) in [
        ("VERSION", WRITE_AND_READ, nr::VERSION, size_of::<Version>()),
        ("SET_PID", WRITE, nr::SET_PID, size_of::<SetPid>()),
        ("SET_IDS", WRITE, nr::SET_IDS, size_of::<SetIds>()),
        ("SET_START", WRITE, nr::SET_START, size_of::<SetStart>()),
        (
            "SIGACTIONS",
            WRITE_AND_READ,
            nr::SIGACTIONS,
            size_of::<Sigactions>(),
        ),
        ("THREAD", WRITE_AND_READ, nr::THREAD, size_of::<Thread>()),
        ("PROCESS", WRITE_AND_READ, nr::PROCESS, size_of::<Process>()),
        ("SOCKET", WRITE_AND_READ, nr::SOCKET, size_of::<Socket>()),
        (
            "SOCKET_QUEUE",
            WRITE_AND_READ,
            nr::SOCKET_QUEUE,
            size_of::<SocketQueue>(),
        ),
        ("USAGE", WRITE_AND_READ, nr::USAGE, size_of::<Usage>()),
        ("ADD_USAGE", WRITE, nr::ADD_USAGE, size_of::<Usage>()),
    ] {
        twins.add(format!("CKPT_IOC_{name}"), ioctl(direction, number, size));
    }
    for (name, value) in [
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
        ("CKPT_SOCKET_INET", socket_mask::INET),
        ("CKPT_SOCKET_TCP", socket_mask::TCP),
        ("CKPT_SOCKET_UNIX", socket_mask::UNIX),
        ("TCPI_OPT_TIMESTAMPS", tcp_options::TIMESTAMPS),
        ("TCPI_OPT_SACK", tcp_options::SACK),
        ("TCPI_OPT_WSCALE", tcp_options::WSCALE),
        ("CKPT_QUEUE_RECV", socket_queue::RECV),
        ("CKPT_QUEUE_SEND", socket_queue::SEND),
    ] {
        twins.add(name, value);
    }
}

#[test]
fn c_and_rust_agree() {
    let mut twins = Twins::default();
    structures(&mut twins);
    constants(&mut twins);
    let expressions: Vec<String> = twins.0.iter().map(|(c, _)| c.clone()).collect();
    let answers = ask_c(&expressions);
    for (expression, rust) in &twins.0 {
        assert_eq!(answers[expression], *rust, "{expression}");
    }

    // And there is no constant of C that was forgotten here.
    for line in header().lines() {
        let mut words = line.split_whitespace();
        if words.next() == Some("#define") {
            let name = words.next().expect("a name");
            assert!(
                name == "_UAPI_LINUX_CKPT_H" || answers.contains_key(name),
                "{name} is not compared"
            );
        }
    }
}
