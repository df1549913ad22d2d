// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Finds the pages that exist.

use std::fs::File;
use std::ops::Range;

use crust_model::{Error, Result};
use crust_sys::RemoteAddr;
use crust_sys::pagemap::{PageRegion, Query, category, scan};
use crust_tracee::frozen_process::FrozenProcess;
use nix::errno::Errno;

use super::{Runs, is_scanned};
use crate::memory::Content;
use crate::memory::area::Area;

/// Returns the pages that a private mapping has.
///
/// # Errors
///
/// Returns an error if the kernel does not tell.
pub fn present(process: &FrozenProcess, area: &Area) -> Result<Runs> {
    private_pages(process, &[(area.clone(), Content::Private)]).map(|(runs, _)| runs)
}

/// Returns the private pages that an image must hold, and the guards.
pub(super) fn private_pages(
    process: &FrozenProcess,
    areas: &[(Area, Content)],
) -> Result<(Runs, Runs)> {
    let task = process.pid;
    let pagemap = crust_proc::open(&process.proc, task, "pagemap")?;
    let mut scanner = Scanner {
        pagemap: File::from(pagemap),
        knows_guards: true,
        regions: vec![PageRegion::default(); 4096],
    };
    let (mut runs, mut guards) = (Runs::default(), Runs::default());
    for (area, content) in areas {
        scanner
            .scan(&area.range(), *content, &mut runs, &mut guards)
            .map_err(|errno| match errno {
                Errno::ENOTTY => Error::system(
                    "look for pages: this kernel lacks PAGEMAP_SCAN (Linux 6.7)",
                    errno,
                ),
                errno => Error::task(task, area.what("look for pages"), errno),
            })?;
    }
    Ok((runs, guards))
}

struct Scanner {
    pagemap: File,
    knows_guards: bool,
    regions: Vec<PageRegion>,
}

impl Scanner {
    fn scan(
        &mut self,
        range: &Range<u64>,
        content: Content,
        runs: &mut Runs,
        guards: &mut Runs,
    ) -> nix::Result<()> {
        let end = RemoteAddr(range.end);
        let mut from = RemoteAddr(range.start);
        while from < end {
            let Some(query) = self.query(content) else {
                return Ok(());
            };
            let scanned = scan(&self.pagemap, from, end, &query, &mut self.regions);
            let (found, stop) = match scanned {
                Err(Errno::EINVAL) if self.knows_guards => {
                    self.knows_guards = false;
                    continue;
                }
                result => result?,
            };
            for region in &self.regions[..found] {
                if region.categories & category::GUARD != 0 {
                    guards.push(region.start..region.end);
                } else {
                    runs.push(region.start..region.end);
                }
            }
            from = stop;
        }
        Ok(())
    }

    /// Returns the query for the pages of a mapping that count; `None` if none can.
    fn query(&self, content: Content) -> Option<Query> {
        let guard = if self.knows_guards {
            category::GUARD
        } else {
            0
        };
        if !is_scanned(content) {
            // Shared memory and files can have guards since 6.15, which also knows the category.
            return (guard != 0).then(|| Query {
                all_of: guard,
                report: guard,
                ..Query::default()
            });
        }
        // A page that was only read is the zero page; a guard counts as swapped.
        let file = if content == Content::Written {
            category::FILE
        } else {
            0
        };
        Some(Query {
            any_of: category::PRESENT | category::SWAPPED,
            none_of: category::PFNZERO | file,
            report: guard,
            ..Query::default()
        })
    }
}
