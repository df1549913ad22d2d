// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The file that tells the pid of a restored program: it is there if, and only if, the program is.

use std::path::Path;

use crust_model::effect::Effect;
use crust_model::{Error, Result};

/// A pidfile that is written before the program runs.
pub(crate) struct Pidfile<'a> {
    path: &'a Path,
    pid: i32,
}

impl<'a> Pidfile<'a> {
    pub(crate) fn new(path: &'a Path, pid: i32) -> Self {
        Self { path, pid }
    }
}

impl Effect for Pidfile<'_> {
    fn name(&self) -> String {
        format!("pidfile {}", self.path.display())
    }

    fn prepare(&mut self) -> Result<()> {
        std::fs::write(self.path, format!("{}\n", self.pid)).map_err(|error| {
            self.abort();
            Error::from_io(format!("write {}", self.path.display()), &error)
        })
    }

    fn commit(&mut self) -> Result<()> {
        Ok(())
    }

    fn abort(&mut self) {
        let _ = std::fs::remove_file(self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_the_program() {
        let path = std::env::temp_dir().join(format!("crust-pidfile-{}", std::process::id()));
        let mut pidfile = Pidfile::new(&path, 42);
        pidfile.prepare().unwrap();
        pidfile.commit().unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "42\n");
        pidfile.abort();
        assert!(!path.exists());
        let missing = Path::new("/nonexistent/pidfile");
        Pidfile::new(missing, 42).prepare().unwrap_err();
    }
}
