// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The rules that decide whether a ring is quiet, from what `fdinfo` shows and what is in the
//! ring's memory.

use std::ops::Range;

use crust_model::words::count;
use crust_sys::uring::{COMPLETION, ENTRY};

use crate::file::probe::Probe;

/// The state of a ring that `fdinfo` shows (`io_uring/fdinfo.c`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    /// The number of submission queue entries.
    pub entries: u32,
    /// The number of completion queue entries.
    pub completions: u32,
    /// The number of requests that were submitted, taken and completed, modulo 2^32.
    pub count: u32,
    /// The number of completions that were read.
    pub read: u32,
}

/// The reason why a ring is not quiet.
pub(super) type Rule = String;

/// Returns what the kernel shows of a ring; `Err` holds the rule that it breaks.
pub(super) fn shown(probe: &Probe) -> Result<Shown, Rule> {
    judge(|name| probe.field(name), &probe.info)
}

fn judge<'a>(field: impl Fn(&str) -> Option<&'a str>, info: &str) -> Result<Shown, Rule> {
    let number = |name: &str| -> Result<u32, Rule> {
        let text = field(name).ok_or_else(|| {
            format!("the kernel does not show its {name}; it is at work, or the kernel is too old")
        })?;
        match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16),
            None => text.parse(),
        }
        .map_err(|_| format!("its {name} makes no sense: {text}"))
    };
    let (head, tail) = (number("SqHead")?, number("SqTail")?);
    let (taken, completed) = (number("CachedSqHead")?, number("CachedCqTail")?);
    let (read, told) = (number("CqHead")?, number("CqTail")?);
    let (entries, completions) = (number("SqMask")?, number("CqMask")?);
    if field("SqThread") != Some("-1") {
        return Err("a thread of the kernel polls it (IORING_SETUP_SQPOLL)".into());
    }
    if head != tail || taken != head {
        let waiting = tail.wrapping_sub(taken);
        return Err(format!(
            "{} submitted and not taken yet",
            count(waiting.into(), "request was", "requests were")
        ));
    }
    if completed != taken || told != completed {
        return Err(match taken.wrapping_sub(completed) {
            open @ 1..=0x7fff_ffff => format!(
                "{} not completed yet",
                count(open.into(), "request is", "requests are")
            ),
            _ => "it has more completions than requests, so one of these has several".into(),
        });
    }
    if told.wrapping_sub(read) > completions.wrapping_add(1) {
        return Err("the program says that it has read more completions than there were".into());
    }
    for (name, one, many) in [
        ("UserFiles", "registered file", "registered files"),
        ("UserBufs", "registered buffer", "registered buffers"),
    ] {
        let registered = number(name)?;
        if registered != 0 {
            return Err(format!("it has {}", count(registered.into(), one, many)));
        }
    }
    if let Some(rule) = listed(info) {
        return Err(rule.into());
    }
    if field("NAPI").is_some_and(|mode| mode != "disabled") {
        return Err("it polls network devices (IORING_REGISTER_NAPI)".into());
    }
    Ok(Shown {
        entries: entries.wrapping_add(1),
        completions: completions.wrapping_add(1),
        count: taken,
        read,
    })
}

/// Returns the rule that an entry of the lists at the end of `fdinfo` breaks.
fn listed(info: &str) -> Option<&'static str> {
    let mut list = "";
    for line in info.lines() {
        if !line.starts_with(' ') {
            list = line.split(':').next().unwrap_or_default();
            continue;
        }
        let rule = match list {
            "PollList" => "a request waits for a file to be ready",
            "CqOverflowList" => "completions wait outside of it for room in it",
            "Personalities" => "it has registered credentials (IORING_REGISTER_PERSONALITY)",
            _ => continue,
        };
        return Some(rule);
    }
    None
}

/// `IORING_OP_NOP`.
const NOP: u8 = linux_raw_sys::io_uring::io_uring_op::IORING_OP_NOP as u8;
/// `IORING_OP_EPOLL_CTL`.
const EPOLL_CTL: u8 = linux_raw_sys::io_uring::io_uring_op::IORING_OP_EPOLL_CTL as u8;

/// Checks that all entries that the ring's memory still holds are of requests that end within the call that submits
/// them. Entries that were never used are zeros, which is a `NOP`.
pub(super) fn entries(bytes: &[u8]) -> Result<(), Rule> {
    for entry in bytes.chunks_exact(ENTRY) {
        let operation = entry[0];
        if operation != NOP && operation != EPOLL_CTL {
            return Err(format!(
                "a request of kind {operation} is still in it, which may not have ended with the call that submitted it"
            ));
        }
        let is_set = |range: Range<usize>| entry[range].iter().any(|byte| *byte != 0);
        // These are `flags` and `personality`; in a NOP also the word that makes it do something
        // after all.
        if is_set(1..2) || is_set(42..44) || (operation == NOP && is_set(28..32)) {
            return Err(
                "a request with flags is still in it (IOSQE_*), or one with credentials".into(),
            );
        }
    }
    Ok(())
}

/// Checks that all completions are of requests that have just one.
pub(super) fn completions(bytes: &[u8]) -> Result<(), Rule> {
    let mut flags = bytes
        .chunks_exact(COMPLETION)
        .map(|completion| &completion[12..]);
    if flags.any(|flags| flags.iter().any(|byte| *byte != 0)) {
        return Err(
            "a completion with flags is still in it, as a request with several completions leaves"
                .into(),
        );
    }
    Ok(())
}

/// Returns whether a ring has a list of the submitted entries (its `array`), or takes one entry after the other
/// (`IORING_SETUP_NO_SQARRAY`). Returns an error if that cannot be told.
pub(super) fn has_array(array: &[u8], entries: &[u8], count: u32) -> Result<bool, Rule> {
    let is_set = |bytes: &[u8]| bytes.iter().any(|byte| *byte != 0);
    if is_set(array) {
        return Ok(true);
    }
    // All are zeros: there is no array, or the first entry was submitted each time.
    let later = entries.get(ENTRY..).unwrap_or_default();
    if count > 1 && !is_set(later) {
        return Err("whether it has an array (IORING_SETUP_NO_SQARRAY) cannot be told".into());
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: &str = "\
pos:\t0
SqMask:\t0xff
SqHead:\t300
SqTail:\t300
CachedSqHead:\t300
CqMask:\t0x1ff
CqHead:\t298
CqTail:\t300
CachedCqTail:\t300
SQEs:\t0
CQEs:\t2
  298: user_data:7, res:0, flags:0
SqThread:\t-1
UserFiles:\t0
UserBufs:\t0
PollList:
CqOverflowList:
NAPI:\tdisabled
";

    fn judge(info: &str) -> Result<Shown, Rule> {
        let field = |name: &str| {
            info.lines()
                .find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
        };
        super::judge(field, info)
    }

    #[test]
    fn a_quiet_ring() {
        let shown = Shown {
            entries: 256,
            completions: 512,
            count: 300,
            read: 298,
        };
        assert_eq!(judge(QUIET), Ok(shown));
    }

    #[test]
    fn each_rule_is_told() {
        for (from, to, rule) in [
            ("SqTail:\t300", "SqTail:\t302", "2 requests were submitted"),
            (
                "CachedSqHead:\t300",
                "CachedSqHead:\t299",
                "1 request was submitted",
            ),
            ("CqTail:\t300", "CqTail:\t299", "1 request is not completed"),
            ("CqTail:\t300", "CqTail:\t301", "more completions"),
            ("CqHead:\t298", "CqHead:\t301", "has read more completions"),
            ("SqThread:\t-1", "SqThread:\t12", "SQPOLL"),
            ("UserFiles:\t0", "UserFiles:\t3", "3 registered files"),
            ("UserBufs:\t0", "UserBufs:\t1", "1 registered buffer"),
            ("PollList:\n", "PollList:\n  op=6, task_works=0\n", "waits"),
            (
                "CqOverflowList:\n",
                "CqOverflowList:\n  user_data=1, res=0, flags=0\n",
                "outside",
            ),
            ("disabled", "enabled", "NAPI"),
            ("UserFiles:\t0\n", "", "does not show its UserFiles"),
            ("0xff", "0xfz", "makes no sense"),
        ] {
            // The cached tail changes along with the other.
            let cached = |text: &str| text.replace("Cached CqTail", "CachedCqTail");
            let info = QUIET.replace("CachedCqTail", "Cached CqTail");
            let info = match from {
                "CqTail:\t300" => cached(&info.replace(from, to)),
                _ => QUIET.replace(from, to),
            };
            let found = judge(&info).unwrap_err();
            assert!(found.contains(rule), "{found}, not {rule}");
        }
    }

    #[test]
    fn requests_that_may_last_are_found() {
        let mut bytes = vec![0; 4 * ENTRY];
        bytes[ENTRY] = EPOLL_CTL;
        assert_eq!(entries(&bytes), Ok(()));
        for (at, value) in [(0, 22), (1, 16), (42, 1), (28, 1)] {
            let mut bytes = bytes.clone();
            bytes[2 * ENTRY + at] = value;
            assert!(entries(&bytes).is_err(), "{at}");
        }
        let mut bytes = vec![0xff; 12];
        bytes.extend([0; 4]);
        assert_eq!(completions(&bytes), Ok(()));
        bytes[12] = 2;
        assert!(completions(&bytes).is_err());
    }

    #[test]
    fn an_array_is_told_by_what_is_in_it() {
        let mut used = vec![0; 3 * ENTRY];
        assert_eq!(has_array(&[0, 1], &used, 5), Ok(true));
        assert_eq!(has_array(&[0, 0], &used, 1), Ok(false));
        assert!(has_array(&[0, 0], &used, 2).is_err());
        used[ENTRY] = EPOLL_CTL;
        assert_eq!(has_array(&[0, 0], &used, 2), Ok(false));
    }
}
