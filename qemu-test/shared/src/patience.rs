// SPDX-License-Identifier: Apache-2.0 OR MIT

//! When a run is called hung. It is no measure of speed: a machine may be busy, and an emulated one slow.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::tree;

/// How long there may be no sign of anything going on,
const SILENCE: Duration = Duration::from_secs(300);
/// and how long signs alone are believed: who starts processes for ever hangs too.
const SIGNS: Duration = Duration::from_secs(20 * 60);
/// How often they are looked for, which is some work.
const LOOK: Duration = Duration::from_secs(20);

/// What is had with a wait for something that is to happen below this program, or in a directory.
pub struct Patience {
    directory: PathBuf,
    begun: Instant,
    /// When there was last a sign, and when one was last looked for.
    sign: Instant,
    looked: Instant,
    /// What was seen then: which threads there are, and how much is in the files.
    seen: Option<u64>,
}

impl Patience {
    /// Begins a wait.
    pub fn begin(directory: &Path) -> Self {
        let now = Instant::now();
        Self {
            directory: directory.to_owned(),
            begun: now,
            sign: now,
            looked: now,
            seen: None,
        }
    }

    /// Whether it has come to its end.
    pub fn is_over(&mut self) -> bool {
        self.is_over_at(Instant::now(), signs)
    }

    fn is_over_at(&mut self, now: Instant, signs: impl FnOnce(&Path) -> u64) -> bool {
        if now - self.looked < LOOK {
            return false;
        }
        self.looked = now;
        let signs = Some(signs(&self.directory));
        if signs != self.seen {
            (self.seen, self.sign) = (signs, now);
        }
        now - self.sign >= SILENCE || now - self.begun >= SIGNS
    }
}

/// What changes while something goes on.
fn signs(directory: &Path) -> u64 {
    signs_of(&tree::descendants(std::process::id() as i32), directory)
}

fn signs_of(pids: &[i32], directory: &Path) -> u64 {
    let mut hash = DefaultHasher::new();
    for pid in pids {
        pid.hash(&mut hash);
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        threads.map_or(0, Iterator::count).hash(&mut hash);
    }
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            // Of links the links themselves: they may lead anywhere.
            let Ok(about) = entry.metadata() else {
                continue;
            };
            entry.file_name().hash(&mut hash);
            if about.is_dir() {
                directories.push(entry.path());
            } else {
                about.len().hash(&mut hash);
            }
        }
    }
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every 20 seconds, for an hour; gives when the patience was over.
    fn over(mut signs: impl FnMut(u64) -> u64) -> Option<u64> {
        let mut patience = Patience::begin(Path::new("/"));
        let begun = patience.begun;
        (0..3600).step_by(20).find(|&second| {
            let now = begun + Duration::from_secs(second);
            patience.is_over_at(now, |_| signs(second))
        })
    }

    #[test]
    fn it_counts_from_the_last_sign() {
        assert_eq!(over(|_| 7), Some(320));
        assert_eq!(over(|second| second.min(600)), Some(900));
        assert_eq!(over(|second| second), Some(1200));
    }

    #[test]
    fn processes_and_files_are_signs() {
        // This process itself has threads that come and go: other tests.
        let signs = |directory: &Path| signs_of(&[], directory);
        assert_ne!(
            signs_of(&[1], Path::new("/nonexistent")),
            signs(Path::new("/nonexistent"))
        );

        let directory = std::env::temp_dir().join(format!("patience-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let before = signs(&directory);
        assert_eq!(signs(&directory), before);
        fs::create_dir(directory.join("images")).unwrap();
        fs::write(directory.join("images/image"), "").unwrap();
        let empty = signs(&directory);
        fs::write(directory.join("images/image"), "more").unwrap();
        assert!(empty != before && signs(&directory) != empty);
        fs::remove_dir_all(directory).unwrap();
    }
}
