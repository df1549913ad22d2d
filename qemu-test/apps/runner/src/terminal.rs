// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A terminal with an interactive shell, of which the program under test is a job. We are the person before it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};
use nix::fcntl::{OFlag, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::stat::Mode;

use crate::shell::wait_until;

/// The terminal, and the shell that leads its session.
pub struct Terminal {
    keyboard: File,
    screen: Arc<Mutex<Vec<u8>>>,
    /// How much of what is on the screen was there when something was last typed.
    seen: usize,
    shell: Child,
    transcript: PathBuf,
}

impl Terminal {
    /// Starts the shell in this directory; all that the terminal ever shows is in the file `transcript` in the end.
    pub fn start(directory: &Path, transcript: &Path) -> Result<Self> {
        let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let slave = open(ptsname_r(&master)?.as_str(), flags, Mode::empty())?;
        let shell = Command::new("setsid")
            .args(["--ctty", "sh", "-c"])
            // So wide that no line that is typed is broken.
            .arg("stty rows 50 columns 1000; exec bash --norc --noprofile -i")
            .env("TERM", "dumb")
            .env("PS1", "outer> ")
            .current_dir(directory)
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave)
            .spawn()
            .context("start the shell")?;
        let keyboard = File::from(OwnedFd::from(master));
        let screen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, shared) = (keyboard.try_clone()?, Arc::clone(&screen));
        // It ends with an error when nobody has the terminal any more.
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let mut screen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                screen.extend(&bytes[..count]);
            }
        });
        let mut terminal = Self {
            keyboard,
            screen,
            seen: 0,
            shell,
            transcript: transcript.to_owned(),
        };
        terminal.shows("outer> ")?;
        Ok(terminal)
    }

    /// The shell's pid.
    pub fn shell(&self) -> i32 {
        self.shell.id() as i32
    }

    /// Types something and waits until the terminal shows this, which must not be in what is typed.
    pub fn enter(&mut self, text: &str, shows: &str) -> Result<()> {
        self.seen = self.screen().len();
        self.keyboard.write_all(text.as_bytes())?;
        self.shows(shows)
    }

    /// Waits until the terminal shows this, after what was typed last.
    pub fn shows(&mut self, text: &str) -> Result<()> {
        let seen = self.seen;
        let newest = |screen: &[u8]| String::from_utf8_lossy(&screen[seen..]).into_owned();
        let directory = self.transcript.parent().unwrap_or(Path::new("."));
        wait_until(
            directory,
            &format!("the terminal does not show `{text}`"),
            || Ok(newest(&self.screen()).contains(text)),
        )
        .with_context(|| format!("it shows `{}`", newest(&self.screen())))
    }

    fn screen(&self) -> Vec<u8> {
        self.screen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = fs::write(&self.transcript, self.screen());
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}
