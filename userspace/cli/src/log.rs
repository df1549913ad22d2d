// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The log: a record of what was done, line by line, with timestamps.

use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use anyhow::Context;
use tracing::Level;

use crate::arguments::Common;

impl Common {
    /// Starts the log: into the file of `-o`, or with `-v` to the standard error.
    ///
    /// As with CRIU, the file is in `directory` (of `-D`) unless it has a path of its own.
    pub fn start_log(&self, directory: Option<&Path>) -> anyhow::Result<()> {
        let level = match (self.verbose, &self.log_file) {
            (0, None) => return Ok(()),
            (0 | 1, _) => Level::INFO,
            (2, _) => Level::DEBUG,
            _ => Level::TRACE,
        };
        let log = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_target(false)
            .with_ansi(false);
        if let Some(file) = &self.log_file {
            let path = directory.map_or_else(|| file.clone(), |directory| directory.join(file));
            let file = File::create(&path)
                .with_context(|| format!("create the log {}", path.display()))?;
            log.with_writer(Mutex::new(file)).init();
        } else {
            log.with_writer(std::io::stderr).without_time().init();
        }
        Ok(())
    }
}
