// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Makes the pseudo-terminal with a certain number. The kernel assigns the lowest free number, so those below are made
//! too, and closed again.

use crust_model::plan::{Operation, TaskHandle};
use crust_model::{Error, Result};
use crust_sys::memory;
use crust_sys::tty::request;
use nix::errno::Errno;

const PATH: &[u8] = b"/dev/ptmx\0";

/// Has a task make the pair with a certain number, and unlock it.
#[derive(Debug)]
pub struct MakePair {
    /// The number of the pair.
    pub index: u32,
    /// The number of the descriptor that the controlling side gets.
    pub number: i32,
    /// The flags with which the controlling side is opened.
    pub flags: i32,
}

impl Operation for MakePair {
    fn describe(&self) -> String {
        let Self { number, index, .. } = self;
        format!("fd {number}: make the pseudo-terminal with number {index}")
    }

    fn run(&self, task: &mut dyn TaskHandle) -> Result<()> {
        let &Self {
            index,
            number,
            flags,
        } = self;
        let at = task.memory();
        let tid = task.tid();
        const WHAT: &str = "make a pseudo-terminal";
        let failed = |errno| Error::task(tid, WHAT, errno);
        let word = at.offset(PATH.len().next_multiple_of(8) as u64);
        memory::write(tid, at, PATH).map_err(failed)?;
        let flags = flags | libc::O_NOCTTY | libc::O_CLOEXEC;
        let open = [libc::AT_FDCWD as u64, at.0, flags as u64];
        let mut others = Vec::new();
        let made = loop {
            let made = task.call(WHAT, libc::SYS_openat, &open)?;
            task.call(
                WHAT,
                libc::SYS_ioctl,
                &[made, request::NUMBER.into(), word.0],
            )?;
            let mut bytes = [0; 4];
            memory::read(tid, word, &mut bytes).map_err(failed)?;
            match u32::from_ne_bytes(bytes) {
                got if got == index => break made,
                got if got > index => {
                    let what = format!("make pseudo-terminal {index}, whose number is taken");
                    return Err(Error::task(tid, what, Errno::EEXIST));
                }
                _ => others.push(made),
            }
        };
        let flags = libc::O_CLOEXEC as u64;
        task.call(WHAT, libc::SYS_dup3, &[made, number as u64, flags])?;
        for other in others.into_iter().chain([made]) {
            task.call(WHAT, libc::SYS_close, &[other])?;
        }
        memory::write(tid, word, &[0; 4]).map_err(failed)?;
        let unlock = [number as u64, request::LOCK.into(), word.0];
        task.call("unlock a pseudo-terminal", libc::SYS_ioctl, &unlock)?;
        Ok(())
    }
}
