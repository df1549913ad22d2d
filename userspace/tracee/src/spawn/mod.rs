// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Creating tasks: the root as a seed process, all others as clones.
//!
//! The root is a child of crust. It executes the seed program, gets scratch memory, and its vDSO is
//! moved out of the way. It may be born in a time namespace of its own. Every other process is a
//! clone of its parent, made while the parent is still a seed process, and so inherits all of this.

pub mod clocks;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use crust_arch::TASK_SIZE;
use crust_model::plan::{Call, Data, Offsets, Plan, reserved, scratch};
use crust_model::{Error, Result};
use crust_sys::process::{Birth, CloneArgs, SeedProcess};
use crust_sys::ptrace::{self, option};
use crust_sys::{RemoteAddr, memory, stub, word};
use nix::errno::Errno;
use zerocopy::IntoBytes;

use self::clocks::Birthplace;
use crate::batch::layout;
use crate::remote::{self, BLOCKED, Caller};
use crate::{instruction, privileges};

/// The ptrace options of all tasks until they are released: if crust dies, they die with it.
pub const OPTIONS: i32 = option::SYSGOOD | option::EXITKILL;

/// How often the creation of a root is attempted if its random layout collides with the scratch
/// memory.
const ATTEMPTS: u32 = 8;

/// Creates the root: a stopped tracee with scratch memory, which can make remote calls. Also
/// returns the offsets that its time namespace adds to the clocks.
///
/// # Errors
///
/// [`Error::System`] with `EEXIST` if its pid is taken.
pub fn root(plan: &Plan, pid: &[i32], image: &File) -> Result<(Caller, Offsets)> {
    let proc = File::open("/proc").map_err(|error| Error::from_io("open /proc", &error))?;
    let terminal = File::options().read(true).write(true).open("/dev/tty").ok();
    let at = |place| plan.reserved_fds + place;
    let mut descriptors: Vec<(BorrowedFd<'_>, i32)> = vec![
        (image.as_fd(), at(reserved::IMAGE)),
        (proc.as_fd(), at(reserved::PROC)),
    ];
    if let Some(terminal) = &terminal {
        descriptors.push((terminal.as_fd(), at(reserved::TERMINAL)));
    }
    let birth = Birth {
        pid,
        descriptors: &descriptors,
    };
    let blank = SeedProcess::new().map_err(|errno| Error::system("make the blank", errno))?;
    let birthplace = Birthplace::new(plan.clocks.after)?;
    for _ in 0..ATTEMPTS {
        let pid = blank
            .start(birth)
            .map_err(|errno| Error::system("start the root of the tree", errno))?;
        match prepare(plan, pid) {
            Ok(caller) => return Ok((caller, birthplace.offsets)),
            Err(error) => {
                end(pid);
                if !matches!(
                    error,
                    Error::Task {
                        errno: Errno::EEXIST,
                        ..
                    }
                ) {
                    return Err(error);
                }
            }
        }
    }
    Err(Error::system(
        "find a layout that leaves room for scratch memory",
        Errno::EEXIST,
    ))
}

/// Kills a child of crust, and waits for it.
pub fn end(pid: i32) {
    let _ = nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    );
    while crust_sys::wait::wait(pid).is_ok_and(|(_, status)| !status.is_end()) {}
}

/// Attaches to a seed process that has been started, and stops it.
pub fn take(pid: i32) -> Result<Caller> {
    stop(pid).map(|(caller, _)| caller)
}

/// Stops a seed process; also returns the mappings that the kernel made in it.
fn stop(pid: i32) -> Result<(Caller, Vec<SystemMapping>)> {
    const WHAT: &str = "stop a new process";
    let failed = |errno| Error::task(pid, WHAT, errno);
    // All descendants inherit these options. Seccomp filters, if there are any, must not see our
    // calls.
    privileges::seize(pid, OPTIONS)
        .and_then(|_| ptrace::interrupt(pid))
        .map_err(failed)?;
    remote::await_event_stop(pid, WHAT, &mut Vec::new())?;
    ptrace::set_signal_mask(pid, BLOCKED).map_err(failed)?;

    let path = format!("/proc/{pid}");
    let proc = File::open(&path)
        .map_err(|error| failed(Errno::from_raw(error.raw_os_error().unwrap_or_default())))?;
    let maps = crust_proc::read_text(&proc, pid, "maps")?;
    let system = system_mappings(&maps);
    let Some(vdso) = system.iter().find(|mapping| mapping.is_code) else {
        return Err(Error::malformed(path, "there is no vDSO"));
    };
    let caller = Caller {
        pid,
        tid: pid,
        instruction: instruction::in_vdso(pid, RemoteAddr(vdso.start))
            .ok_or_else(|| Error::malformed(&path, "the vDSO has no syscall instruction"))?,
        template: ptrace::registers(pid).map_err(failed)?,
    };
    Ok((caller, system))
}

/// Stops a new root and gives it its scratch memory.
fn prepare(plan: &Plan, pid: i32) -> Result<Caller> {
    let (mut caller, system) = stop(pid)?;
    let first = system.first().map_or(0, |mapping| mapping.start);

    // EXITKILL covers this from here on, and the restored program may outlive us.
    let never = [libc::PR_SET_PDEATHSIG as u64, 0];
    caller.call("outlive crust", libc::SYS_prctl, &never)?;

    map_scratch(plan, &mut caller)?;

    for mapping in &system {
        let to = plan.scratch.0 + scratch::PARKED + (mapping.start - first);
        let length = mapping.end - mapping.start;
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let args = [mapping.start, length, length, word::from_int(flags), to];
        caller.call("park the vDSO", libc::SYS_mremap, &args)?;
    }
    // Unmap the stack; the stub never uses one. For each page that can be told apart the kernel
    // would remember all generations of a tree (mm/rmap.c:anon_vma_clone).
    let scratch = plan.scratch.0;
    for (what, start, end) in [
        ("unmap the blank below scratch memory", 0, scratch),
        (
            "unmap the blank above scratch memory",
            scratch + scratch::TOTAL,
            TASK_SIZE,
        ),
    ] {
        caller.call(what, libc::SYS_munmap, &[start, end - start])?;
    }
    Ok(caller)
}

/// Maps the scratch memory: the code, which all processes share, and room for batches, which is
/// private to each process and starts out empty in a child.
fn map_scratch(plan: &Plan, caller: &mut Caller) -> Result<()> {
    let (all, write) = (
        libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC,
        libc::PROT_READ | libc::PROT_WRITE,
    );
    let at = |offset: u64| plan.scratch.offset(offset);
    for (start, end, protection, shared) in [
        (layout::CODE, layout::BATCHES, all, libc::MAP_SHARED),
        (layout::BATCHES, scratch::TOTAL, write, libc::MAP_PRIVATE),
    ] {
        let flags = shared | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
        let args = [
            at(start).0,
            end - start,
            word::from_int(protection),
            word::from_int(flags),
            u64::MAX,
            0,
        ];
        caller.call("map scratch memory", libc::SYS_mmap, &args)?;
    }
    let args = [
        at(layout::BATCHES).0,
        scratch::SIZE - layout::BATCHES,
        libc::MADV_WIPEONFORK as u64,
    ];
    caller.call("have scratch memory begin empty", libc::SYS_madvise, &args)?;
    memory::write(caller.pid, at(layout::CODE), stub::code())
        .map_err(|errno| Error::task(caller.pid, "write into scratch memory", errno))?;
    caller.instruction = at(layout::CODE + stub::single());
    Ok(())
}

struct SystemMapping {
    start: u64,
    end: u64,
    is_code: bool,
}

/// Returns `[vvar]`, `[vvar_vclock]` and `[vdso]` of `/proc/PID/maps`, in the order of their
/// addresses.
fn system_mappings(maps: &str) -> Vec<SystemMapping> {
    maps.lines()
        .filter_map(|line| {
            let is_code = line.ends_with("[vdso]");
            if !is_code && !line.ends_with("[vvar]") && !line.ends_with("[vvar_vclock]") {
                return None;
            }
            let (start, rest) = line.split_once('-')?;
            let (end, _) = rest.split_once(' ')?;
            Some(SystemMapping {
                start: u64::from_str_radix(start, 16).ok()?,
                end: u64::from_str_radix(end, 16).ok()?,
                is_code,
            })
        })
        .collect()
}

/// Returns the call by which a process creates a child that is traced like itself.
#[must_use]
pub fn child(numbers: &[i32], exit_signal: i32, flags: u64) -> Call {
    clone(
        format!("make process {}", numbers.first().unwrap_or(&0)),
        libc::CLONE_PTRACE as u64 | flags,
        exit_signal,
        numbers,
    )
}

/// Returns the call by which a thread creates another thread of its process; without `numbers`, the
/// kernel chooses the thread id.
#[must_use]
pub fn thread(numbers: &[i32]) -> Call {
    let flags = libc::CLONE_VM
        | libc::CLONE_FS
        | libc::CLONE_FILES
        | libc::CLONE_SIGHAND
        | libc::CLONE_THREAD
        | libc::CLONE_SYSVSEM
        | libc::CLONE_PTRACE;
    clone(
        numbers
            .first()
            .map_or("make a thread".into(), |tid| format!("make thread {tid}")),
        word::from_int(flags),
        0,
        numbers,
    )
}

/// Returns a `clone3` call. A task that is given its id at creation needs neither the module nor a
/// second step.
fn clone(what: String, flags: u64, exit_signal: i32, numbers: &[i32]) -> Call {
    let args = CloneArgs {
        flags,
        exit_signal: word::from_int(exit_signal),
        set_tid_size: numbers.len() as u64,
        ..CloneArgs::default()
    };
    let mut args = Data::new(args.as_bytes());
    if !numbers.is_empty() {
        let numbers: Vec<u8> = numbers
            .iter()
            .flat_map(|number| number.to_ne_bytes())
            .collect();
        let place = std::mem::offset_of!(CloneArgs, set_tid);
        args = args.pointer(place, Data::new(numbers));
    }
    let size = size_of::<CloneArgs>() as u64;
    let call = Call::new(what, libc::SYS_clone3, [args.into(), size.into()]);
    match numbers.first() {
        Some(&number) => call.must_return(word::from_int(number)),
        None => call,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mappings_that_move() {
        let maps = "7f00-7f10 rw-p 0 00:00 0 \n\
                    8000-c000 r--p 00000000 00:00 0                          [vvar]\n\
                    c000-e000 r-xp 00000000 00:00 0                          [vdso]\n\
                    ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0  [vsyscall]\n";
        let found = system_mappings(maps);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].start, found[0].end), (0x8000, 0xc000));
        assert!(found[1].is_code);
    }
}
