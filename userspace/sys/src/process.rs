// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The seed process: the program as which every restored process begins.
//!
//! It has no libc, so it has registered nothing with the kernel (no `rseq`, no robust list), none
//! of its mappings are sealed, and it has no signal handlers. It only waits to be traced.

use std::ffi::CStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;
use nix::unistd::getpid;
use rustix::io::fcntl_dupfd_cloexec;

use crate::raw::{errno, syscall};
use crate::wait::{self, Status};
use crate::{Result, word};

/// A flag of `clone3`: the child leaves no zombie (Linux 7.3; libc and linux-raw-sys lack it).
pub const CLONE_AUTOREAP: u64 = 1 << 34;

/// `struct clone_args`.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    zerocopy_derive::IntoBytes,
    zerocopy_derive::Immutable,
)]
pub struct CloneArgs {
    /// `CLONE_*`.
    pub flags: u64,
    /// Where to store a pidfd.
    pub pidfd: u64,
    /// `CLONE_CHILD_SETTID`, `CLONE_CHILD_CLEARTID`.
    pub child_tid: u64,
    /// `CLONE_PARENT_SETTID`.
    pub parent_tid: u64,
    /// The signal sent to the parent on exit.
    pub exit_signal: u64,
    /// The lowest byte of the stack; 0 to use the stack of the caller.
    pub stack: u64,
    /// The size of the stack.
    pub stack_size: u64,
    /// `CLONE_SETTLS`.
    pub tls: u64,
    /// The address of the thread ids, innermost pid namespace first.
    pub set_tid: u64,
    /// The number of thread ids.
    pub set_tid_size: u64,
    /// `CLONE_INTO_CGROUP`.
    pub cgroup: u64,
}

// An ELF header and one program header, with 64-bit fields as in `man 5 elf`; then the code.
const BASE: u64 = 0x10_0000;
const HEADERS: u64 = 64 + 56;
/// `1: mov $SYS_pause, %eax; syscall; jmp 1b`
const CODE: [u8; 9] = [0xb8, 34, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];

fn elf() -> Vec<u8> {
    let mut elf = Vec::new();
    // 64 bits, little-endian, ELF version 1.
    elf.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    elf.extend(2_u16.to_le_bytes()); // ET_EXEC
    elf.extend(62_u16.to_le_bytes()); // EM_X86_64
    elf.extend(1_u32.to_le_bytes());
    elf.extend((BASE + HEADERS).to_le_bytes()); // entry
    elf.extend(64_u64.to_le_bytes()); // program headers
    elf.extend(0_u64.to_le_bytes()); // no sections
    elf.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1_u32.to_le_bytes()); // PT_LOAD
    elf.extend(5_u32.to_le_bytes()); // readable, executable
    for word in [0, BASE, BASE] {
        elf.extend(word.to_le_bytes());
    }
    let size = HEADERS + CODE.len() as u64;
    for word in [size, size, 4096] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(CODE);
    elf
}

/// The seed program as a file that can be executed.
#[derive(Debug)]
pub struct SeedProcess(OwnedFd);

/// The initial state of a seed process.
#[derive(Clone, Copy, Debug)]
pub struct Birth<'a> {
    /// The process ids, innermost pid namespace first; empty for any.
    pub pid: &'a [i32],
    /// The descriptors of ours that it gets, and their numbers there. It has no others.
    pub descriptors: &'a [(BorrowedFd<'a>, i32)],
}

impl SeedProcess {
    /// Creates the file.
    pub fn new() -> Result<Self> {
        let file = memfd_create(c"crust-blank", MFdFlags::MFD_CLOEXEC)?;
        let mut file = File::from(file);
        file.write_all(&elf()).map_err(|_| Errno::EIO)?;
        // A file that is open for writing cannot be executed (ETXTBSY).
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        open(
            path.as_str(),
            OFlag::O_RDONLY | OFlag::O_CLOEXEC,
            Mode::empty(),
        )
        .map(Self)
    }

    /// Starts a child of the caller that executes the seed program, blocks all signals, and waits.
    ///
    /// # Errors
    ///
    /// `EEXIST` if the process id is taken, `EPERM`, and the errors of `execveat`.
    pub fn start(&self, birth: Birth<'_>) -> Result<i32> {
        // Move the descriptors out of the way of all numbers that the child will use.
        let above = birth.descriptors.iter().map(|&(_, number)| number).max();
        let above = above.map_or(0, |number| number + 1);
        let limit = u64::from(above.unsigned_abs()) + 64;
        let mut moved = Vec::new();
        raise_limit(limit)?;
        for (fd, number) in birth.descriptors {
            let copy = fcntl_dupfd_cloexec(fd, above).map_err(errno)?;
            moved.push((copy, *number));
        }
        let program = fcntl_dupfd_cloexec(&self.0, above).map_err(errno)?;
        let numbers: Vec<(i32, i32)> = moved
            .iter()
            .map(|(fd, number)| (fd.as_raw_fd(), *number))
            .collect();
        let args = CloneArgs {
            // The child does not run beside us before it has executed the seed program.
            flags: libc::CLONE_VFORK as u64,
            exit_signal: libc::SIGCHLD as u64,
            set_tid: if birth.pid.is_empty() {
                0
            } else {
                birth.pid.as_ptr() as u64
            },
            set_tid_size: birth.pid.len() as u64,
            ..CloneArgs::default()
        };
        let parent = getpid().as_raw();
        // SAFETY: without CLONE_VM the child has a copy of our memory, and this thread is the only one
        // in it. It makes system calls only (`become_blank`): it takes no lock and allocates nothing,
        // so what other threads were doing does not matter. `args` lives through the call.
        let pid = unsafe { syscall!(libc::SYS_clone3, &raw const args, size_of::<CloneArgs>()) }?;
        let pid = word::to_int(pid);
        if pid == 0 {
            become_blank(parent, program.as_raw_fd(), &numbers);
        }
        // The child has executed the seed program, or exited with the error number.
        match wait::poll(pid)? {
            None => Ok(pid),
            Some((_, Status::Exited(errno))) => Err(Errno::from_raw(errno)),
            Some(_) => Err(Errno::ECHILD),
        }
    }
}

/// Raises the descriptor limit of this process to `limit`: a child's table is copied from ours.
fn raise_limit(limit: u64) -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < limit {
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard.max(limit))?;
    }
    Ok(())
}

/// Runs the child up to its exec. Nothing here may allocate or take a lock.
///
/// The child dies with its parent, until the parent traces it and clears that setting.
fn become_blank(parent: i32, program: i32, descriptors: &[(i32, i32)]) -> ! {
    let empty: [*const libc::c_char; 1] = [std::ptr::null()];
    let name: &CStr = c"crust-blank";
    let arguments = [name.as_ptr(), std::ptr::null()];
    let most = [1_u64 << 20, 1 << 20];
    // struct kernel_sigaction: SIG_DFL, no flags, no restorer, an empty mask.
    let default = [0_u64; 4];
    let all = u64::MAX;
    // SAFETY: every pointer refers to a local of the size that its call reads; no call writes
    // memory. This is a single-threaded process that owns all of its descriptors.
    let errno = unsafe {
        let _ = syscall!(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if libc::getppid() != parent {
            // The parent was killed before we could ask to die with it.
            libc::_exit(0);
        }
        for signal in 1..=64 {
            // An ignored signal (as SIGPIPE is by Rust) would stay ignored across exec. SIGKILL and
            // SIGSTOP fail and need no reset.
            let nothing = std::ptr::null_mut::<u64>();
            let _ = syscall!(libc::SYS_rt_sigaction, signal, default.as_ptr(), nothing, 8);
        }
        let _ = syscall!(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const all,
            std::ptr::null_mut::<u64>(),
            8
        );
        let result = syscall!(
            libc::SYS_close_range,
            0,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC
        )
        .and_then(|_| {
            for &(from, to) in descriptors {
                syscall!(libc::SYS_dup3, from, to, 0)?;
            }
            // The highest possible limit (fs.nr_open). Without CAP_SYS_RESOURCE the current limit must
            // do, which is enough for the descriptors above.
            let _ = syscall!(libc::SYS_setrlimit, libc::RLIMIT_NOFILE, most.as_ptr());
            syscall!(
                libc::SYS_execveat,
                program,
                c"".as_ptr(),
                arguments.as_ptr(),
                empty.as_ptr(),
                libc::AT_EMPTY_PATH
            )
        });
        result.err().unwrap_or(Errno::EIO)
    };
    // SAFETY: this ends the process without running any of our code.
    unsafe { libc::_exit(errno as i32) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::ptrace;

    #[test]
    fn a_blank_waits_with_the_descriptors_that_it_got() {
        let null = File::open("/dev/null").unwrap();
        let birth = Birth {
            pid: &[],
            descriptors: &[(null.as_fd(), 40)],
        };
        let pid = SeedProcess::new().unwrap().start(birth).unwrap();
        ptrace::seize(pid, ptrace::option::EXITKILL).unwrap();
        ptrace::interrupt(pid).unwrap();
        let (_, status) = wait::wait(pid).unwrap();
        assert!(matches!(
            status,
            Status::Stopped {
                event: ptrace::event::STOP,
                ..
            }
        ));
        // Only now: the parent resumes before exec has closed the descriptors that it closes.
        let fds: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(fds, ["40"]);
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        assert_eq!(wait::wait(pid).unwrap().1, Status::Killed(9));
    }
}
