// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Makes the pseudo-terminal with a certain number. The kernel assigns the lowest free number, so those below are made
//! too, and closed again.

use crust_model::plan::{Operation, TaskHandle};
use crust_model::{Error, Result};
use crust_sys::word::from_int;
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
        const WHAT: &str = "make a pseudo-terminal";
        let word = at.offset(PATH.len().next_multiple_of(8) as u64);
        task.write(WHAT, at, PATH)?;
        let flags = flags | libc::O_NOCTTY | libc::O_CLOEXEC;
        let open = [from_int(libc::AT_FDCWD), at.0, from_int(flags)];
        let mut others = Vec::new();
        let made = loop {
            let made = task.call(WHAT, libc::SYS_openat, &open)?;
            task.call(WHAT, libc::SYS_ioctl, &[made, libc::TIOCGPTN, word.0])?;
            let mut bytes = [0; 4];
            task.read(WHAT, word, &mut bytes)?;
            match u32::from_ne_bytes(bytes) {
                got if got == index => break made,
                got if got > index => {
                    let what = format!("make pseudo-terminal {index}, whose number is taken");
                    return Err(Error::task(task.tid(), what, Errno::EEXIST));
                }
                _ => others.push(made),
            }
        };
        let flags = libc::O_CLOEXEC as u64;
        task.call(WHAT, libc::SYS_dup3, &[made, from_int(number), flags])?;
        for other in others.into_iter().chain([made]) {
            task.call(WHAT, libc::SYS_close, &[other])?;
        }
        task.write(WHAT, word, &[0; 4])?;
        let unlock = [from_int(number), libc::TIOCSPTLCK, word.0];
        task.call("unlock a pseudo-terminal", libc::SYS_ioctl, &unlock)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crust_sys::RemoteAddr;

    use super::*;
    use crate::scripted_task::{Action, DONE, MEMORY, ScriptedTask, assert_fails};

    const WORD: RemoteAddr = RemoteAddr(MEMORY.0 + 16);
    const FLAGS: i32 = libc::O_RDWR | libc::O_NONBLOCK;
    const OPEN: [u64; 3] = [
        libc::AT_FDCWD as u64,
        MEMORY.0,
        (FLAGS | libc::O_NOCTTY | libc::O_CLOEXEC) as u64,
    ];

    fn make(index: u32) -> MakePair {
        MakePair {
            index,
            number: 40,
            flags: FLAGS,
        }
    }

    #[test]
    fn pairs_with_lower_numbers_are_made_and_closed() {
        let number = |fd| [fd, libc::TIOCGPTN, WORD.0];
        let asked = [5, 6, 7].map(number);
        let asks = |fd: usize| (Action::Call(libc::SYS_ioctl, &asked[fd]), DONE);
        let open = |fd| (Action::Call(libc::SYS_openat, &OPEN), Ok(fd));
        let got = |index| (Action::Read(WORD, 4), Ok(index));
        let close = |fd| (Action::Call(libc::SYS_close, fd), DONE);
        let (moved, unlocked) = (
            [7, 40, libc::O_CLOEXEC as u64],
            [40, libc::TIOCSPTLCK, WORD.0],
        );
        let mut task = ScriptedTask::new([
            (Action::Write(MEMORY, b"/dev/ptmx\0"), DONE),
            open(5),
            asks(0),
            got(0),
            open(6),
            asks(1),
            got(2),
            open(7),
            asks(2),
            got(3),
            (Action::Call(libc::SYS_dup3, &moved), Ok(40)),
            close(&[5]),
            close(&[6]),
            close(&[7]),
            (Action::Write(WORD, &[0; 4]), DONE),
            (Action::Call(libc::SYS_ioctl, &unlocked), DONE),
        ]);
        make(3).run(&mut task).unwrap();
        task.end();
    }

    #[test]
    fn a_number_that_is_taken_is_named() {
        let asked = [5, libc::TIOCGPTN, WORD.0];
        let mut task = ScriptedTask::new([
            (Action::Write(MEMORY, PATH), DONE),
            (Action::Call(libc::SYS_openat, &OPEN), Ok(5)),
            (Action::Call(libc::SYS_ioctl, &asked), DONE),
            (Action::Read(WORD, 4), Ok(4)),
        ]);
        let message = assert_fails(make(3).run(&mut task), Errno::EEXIST);
        assert!(message.contains("pseudo-terminal 3"), "{message}");
        task.end();
    }

    #[test]
    fn nothing_follows_a_call_that_fails() {
        let mut task = ScriptedTask::new([
            (Action::Write(MEMORY, PATH), DONE),
            (Action::Call(libc::SYS_openat, &OPEN), Err(Errno::ENOSPC)),
        ]);
        let message = assert_fails(make(3).run(&mut task), Errno::ENOSPC);
        assert!(message.contains("make a pseudo-terminal"), "{message}");
        task.end();
        let mut task = ScriptedTask::new([(Action::Write(MEMORY, PATH), Err(Errno::EFAULT))]);
        assert_fails(make(3).run(&mut task), Errno::EFAULT);
        task.end();
    }
}
