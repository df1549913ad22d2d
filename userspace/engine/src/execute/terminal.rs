// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Making the pseudo-terminal of a certain number. The kernel gives the lowest that is free, so those below are made
//! too, and go again.

use crust_sys::tty::request;
use crust_sys::{RemoteAddr, memory};
use nix::errno::Errno;

use crate::remote::Caller;
use crate::{Error, Result};

const PATH: &[u8] = b"/dev/ptmx\0";

/// Has a task make the pair with a number, whose controlling side gets a descriptor. `at` is scratch memory that no
/// batch is in.
pub(super) fn open(
    caller: &Caller,
    at: RemoteAddr,
    (index, number): (u32, i32),
    flags: i32,
) -> Result<()> {
    const WHAT: &str = "make a pseudo-terminal";
    let failed = |errno| Error::task(caller.tid, WHAT, errno);
    let word = at.offset(PATH.len().next_multiple_of(8) as u64);
    memory::write(caller.tid, at, PATH).map_err(failed)?;
    let flags = flags | libc::O_NOCTTY | libc::O_CLOEXEC;
    let open = [libc::AT_FDCWD as u64, at.0, flags as u64];
    let mut others = Vec::new();
    let made = loop {
        let made = caller.call(WHAT, libc::SYS_openat, &open)?;
        caller.call(
            WHAT,
            libc::SYS_ioctl,
            &[made, request::NUMBER.into(), word.0],
        )?;
        let mut bytes = [0; 4];
        memory::read(caller.tid, word, &mut bytes).map_err(failed)?;
        match u32::from_ne_bytes(bytes) {
            got if got == index => break made,
            got if got > index => {
                let what = format!("make pseudo-terminal {index}, whose number is taken");
                return Err(Error::task(caller.tid, what, Errno::EEXIST));
            }
            _ => others.push(made),
        }
    };
    let flags = libc::O_CLOEXEC as u64;
    caller.call(WHAT, libc::SYS_dup3, &[made, number as u64, flags])?;
    for other in others.into_iter().chain([made]) {
        caller.call(WHAT, libc::SYS_close, &[other])?;
    }
    memory::write(caller.tid, word, &[0; 4]).map_err(failed)?;
    let unlock = [number as u64, request::LOCK.into(), word.0];
    caller.call("unlock a pseudo-terminal", libc::SYS_ioctl, &unlock)?;
    Ok(())
}
