// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Query sets: system calls that a program makes about itself, and their answers.

use crust_model::plan::{Arg, Call};
use crust_sys::stub::Answers;
use crust_sys::{RemoteAddr, kcmp, uapi, word, xstate};
use linux_raw_sys::general::membarrier_cmd::MEMBARRIER_CMD_GET_REGISTRATIONS;
use linux_raw_sys::io_uring::io_uring_register_op::IORING_REGISTER_RESTRICTIONS;
use linux_raw_sys::prctl::{PR_GET_TID_ADDRESS, PR_GET_TSC};

/// An address at which no process can have memory: it is in the kernel's half.
const NO_MEMORY: u64 = 1 << 63;

/// Returns the protection keys that a program may allocate; none if this processor has none.
pub fn keys() -> impl Iterator<Item = u32> {
    1..if xstate::has_protection_keys() { 16 } else { 1 }
}

/// The room for each answer; the largest is a `struct itimerspec` or `sigaction`.
pub const ANSWER: usize = 32;

/// A call. If it writes its answer to memory, argument `.1` is the address.
type Question = (Call, Option<usize>);

/// Calls, and later their answers in the same order.
#[derive(Debug, Default)]
pub struct QuerySet {
    asked: Vec<Question>,
    /// The results of the calls.
    pub returned: std::vec::IntoIter<u64>,
    /// The answers that the calls wrote, [`ANSWER`] bytes each.
    pub written: Vec<u8>,
    read: usize,
}

impl QuerySet {
    /// Returns the number of calls.
    pub fn calls(&self) -> usize {
        self.asked.len()
    }

    /// Returns the number of calls that write an answer.
    pub fn answers(&self) -> usize {
        self.asked.iter().filter(|(_, at)| at.is_some()).count()
    }

    /// Returns the calls, with the addresses for their answers, and whether they write one. Each
    /// gets the next `stride` bytes from `at` on.
    pub fn at(&self, mut at: RemoteAddr, stride: u64) -> impl Iterator<Item = (Call, bool)> {
        self.asked.iter().map(move |(call, place)| {
            let mut call = call.clone();
            if let Some(place) = place {
                call.args[*place] = at.into();
                at = at.offset(stride);
            }
            (call, place.is_some())
        })
    }

    /// Adds a call whose result is the answer.
    fn plain(&mut self, what: &str, nr: i64, args: &[u64]) {
        let args: Vec<Arg> = args.iter().map(|&value| Arg::Value(value)).collect();
        self.asked
            .push((Call::new(what, nr, args).may_fail(), None));
    }

    /// Adds a call that writes its answer to the address in argument number `place`.
    fn writing(&mut self, what: &str, nr: i64, args: &[u64], place: usize) {
        self.plain(what, nr, args);
        if let Some((_, writes)) = self.asked.last_mut() {
            *writes = Some(place);
        }
    }

    /// Adds all queries about a process.
    pub fn of_process(&mut self, timers: impl Iterator<Item = i32>) {
        for signal in 1..=uapi::CKPT_NSIG as u64 {
            let args = [signal, 0, 0, 8];
            self.writing("rt_sigaction", libc::SYS_rt_sigaction, &args, 2);
        }
        for which in 0..3 {
            self.writing("getitimer", libc::SYS_getitimer, &[which, 0], 1);
        }
        self.plain("brk", libc::SYS_brk, &[0]);
        let subreaper = [libc::PR_GET_CHILD_SUBREAPER as u64, 0];
        self.writing("prctl", libc::SYS_prctl, &subreaper, 1);
        let thp = [libc::PR_GET_THP_DISABLE as u64, 0, 0, 0, 0];
        self.plain("prctl", libc::SYS_prctl, &thp);
        let registrations = [MEMBARRIER_CMD_GET_REGISTRATIONS as u64, 0, 0];
        self.plain("membarrier", libc::SYS_membarrier, &registrations);
        let mdwe = [libc::PR_GET_MDWE as u64, 0, 0, 0, 0];
        self.plain("prctl", libc::SYS_prctl, &mdwe);
        for key in keys() {
            // A key that the program has may be used; the only error is that there is no memory
            // (mm/mprotect.c).
            let args = [NO_MEMORY, 4096, 0, u64::from(key)];
            self.plain("pkey_mprotect", libc::SYS_pkey_mprotect, &args);
        }
        for id in timers {
            let args = [word::from_int(id), 0];
            self.writing("timer_gettime", libc::SYS_timer_gettime, &args, 1);
            self.plain("timer_getoverrun", libc::SYS_timer_getoverrun, &args[..1]);
        }
    }

    /// Adds the queries about state that nobody but the process itself can ask for.
    pub fn of_what_is_hidden(&mut self, outsider: Option<i32>) {
        const ARCH_GET_CPUID: u64 = 0x1011;
        const ARCH_GET_XCOMP_PERM: u64 = 0x1022;
        const READ_LDT: u64 = 0;
        const OF_THREAD: i32 = -1;
        const OF_PROCESS: i32 = -2;
        self.writing("prctl", libc::SYS_prctl, &[PR_GET_TSC.into(), 0], 1);
        self.plain("arch_prctl", libc::SYS_arch_prctl, &[ARCH_GET_CPUID, 0]);
        let args = [ARCH_GET_XCOMP_PERM, 0];
        self.writing("arch_prctl", libc::SYS_arch_prctl, &args, 1);
        // Room for one entry: the length of what is read is the answer.
        let args = [READ_LDT, 0, 8];
        self.writing("modify_ldt", libc::SYS_modify_ldt, &args, 1);
        for which in [OF_THREAD, OF_PROCESS] {
            // The last argument: a keyring that does not exist is not created.
            let args = [libc::KEYCTL_GET_KEYRING_ID.into(), word::from_int(which), 0];
            self.plain("keyctl", libc::SYS_keyctl, &args);
        }
        // For this thread and without a restriction, which is an error; a different one if there are
        // restrictions.
        let args = [u64::MAX, IORING_REGISTER_RESTRICTIONS as u64, 0, 2];
        self.plain("io_uring_register", libc::SYS_io_uring_register, &args);
        // A process that may inspect the outsider may compare it with itself.
        let outsider = word::from_int(outsider.unwrap_or(0));
        let args = [outsider, outsider, kcmp::Kind::Vm as u64, 0, 0];
        self.plain("kcmp", libc::SYS_kcmp, &args);
    }

    /// Adds all queries about a thread, the same as those of [`stub::ask`](crust_sys::stub::ask).
    pub fn of_thread(&mut self) {
        self.writing("prctl", libc::SYS_prctl, &[PR_GET_TID_ADDRESS.into(), 0], 1);
        self.writing("sigaltstack", libc::SYS_sigaltstack, &[0, 0], 1);
        let pdeathsig = [libc::PR_GET_PDEATHSIG as u64, 0];
        self.writing("prctl", libc::SYS_prctl, &pdeathsig, 1);
        let securebits = [libc::PR_GET_SECUREBITS as u64];
        self.plain("prctl", libc::SYS_prctl, &securebits);
        let slack = [libc::PR_GET_TIMERSLACK as u64];
        self.plain("prctl", libc::SYS_prctl, &slack);
        let personality = [u64::from(u32::MAX)];
        self.plain("personality", libc::SYS_personality, &personality);
    }

    /// Reads the answers to the queries of [`QuerySet::of_thread`].
    pub fn answers_of_thread(&mut self) -> Answers {
        let tid_address = self.answer().unwrap_or_default()[0];
        let [sp, flags, size, _] = self.answer().unwrap_or_default();
        Answers {
            tid_address,
            alternate_stack: [sp, flags, size],
            death_signal: self.answer().unwrap_or_default()[0],
            securebits: self.result(),
            timer_slack: self.result(),
            personality: self.result(),
        }
    }

    /// Returns the next result.
    pub fn result(&mut self) -> i64 {
        word::to_long(self.returned.next().unwrap_or_default())
    }

    /// Returns the next written answer, as words, if its call succeeded.
    pub fn answer(&mut self) -> Option<[u64; 4]> {
        let (result, words) = self.result_and_answer();
        (result == 0).then_some(words)
    }

    /// Returns the next result, and what its call has written, if anything.
    pub fn result_and_answer(&mut self) -> (i64, [u64; 4]) {
        let result = self.result();
        let bytes = &self.written[self.read..][..ANSWER];
        self.read += ANSWER;
        let word =
            |n: usize| u64::from_ne_bytes(bytes[n * 8..n * 8 + 8].try_into().expect("8 bytes"));
        (result, [word(0), word(1), word(2), word(3)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_has_its_place() {
        let mut queries = QuerySet::default();
        queries.of_thread();
        let places: Vec<_> = queries
            .at(RemoteAddr(0x1000), ANSWER as u64)
            .map(|(call, writes)| writes.then(|| call.args[1].clone()))
            .collect();
        let at = |address: u64| Some(Arg::Value(address));
        let places_are = [at(0x1000), at(0x1020), at(0x1040), None, None, None];
        assert_eq!(places, places_are);

        queries.returned = vec![0, -14_i64 as u64, 0, 47, 50_000, 8].into_iter();
        queries.written = [[1; ANSWER], [2; ANSWER], [3; ANSWER]].concat();
        let answers = queries.answers_of_thread();
        assert_eq!(answers.tid_address as u8, 1);
        assert_eq!(answers.alternate_stack, [0; 3]);
        assert_eq!(answers.death_signal as u8, 3);
        let results = (answers.securebits, answers.timer_slack, answers.personality);
        assert_eq!(results, (47, 50_000, 8));
    }
}
