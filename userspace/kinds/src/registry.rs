// SPDX-License-Identifier: Apache-2.0 OR MIT

//! All kinds of objects that an image can hold, whatever their family.
//!
//! `inspect` and `docs/support.md` are generated from it; what is not listed here cannot be carried over.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Instant;

use crust_hooks::KernelFeatures;
use crust_image::Record;
use crust_model::object::{Extent, Row};
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};
use crust_tracee::texts;

use crate::capture::Capture;
use crate::contents::PageJob;
use crate::ipc::sysv_shm::FoundSegments;
use crate::pathless::{self, PathlessFiles};
use crate::plan_context::{PlanCx, RestoreOptions};
use crate::{file, memory, namespace, task};

/// The families of kinds, distinguished by the high byte of their tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// State of a process or thread.
    Task,
    /// Memory.
    Mapping,
    /// Open files.
    File,
    /// State that a whole tree has in common.
    Namespace,
    /// A family that this version of crust does not know.
    Unknown,
}

impl Family {
    /// Returns the family of a tag.
    #[must_use]
    pub fn of(tag: u16) -> Self {
        match tag >> 8 {
            1 => Self::Task,
            2 => Self::Mapping,
            3 => Self::File,
            4 => Self::Namespace,
            _ => Self::Unknown,
        }
    }
}

/// The rows of all tables, sorted by tag.
#[derive(Clone)]
pub struct Registry(Vec<Row>);

impl Registry {
    /// Returns the registry of all kinds.
    #[must_use]
    pub fn all() -> Self {
        Self::new(
            task::rows()
                .chain(memory::rows())
                .chain(file::rows())
                .chain(namespace::rows()),
        )
    }

    fn new(rows: impl Iterator<Item = Row>) -> Self {
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_by_key(|row| row.tag);
        Self(rows)
    }

    /// Returns the kind with a tag; `None` if a newer crust wrote the record.
    #[must_use]
    pub fn get(&self, tag: u16) -> Option<&Row> {
        let at = self.0.binary_search_by_key(&tag, |row| row.tag).ok()?;
        Some(&self.0[at])
    }

    /// Refuses the records that this crust does not know, and newer versions of those that it knows, once per kind: a
    /// restore without them would lose something that a newer crust could save.
    pub fn refuse_unknown(&self, records: &[Record], refusals: &mut Refusals) {
        let all = records.iter().map(|record| (record.tag, record.version));
        let all: BTreeSet<(u16, u16)> = all.collect();
        let (mut last, remedy) = (0, "restore it with the crust that wrote it, or a newer one");
        for (tag, version) in all {
            match self.get(tag) {
                None if tag == last => {}
                None => {
                    let object = format!("kind {tag:#06x}");
                    let why = "the image has objects of a kind that this crust does not know";
                    refusals.block(0, object, why, remedy);
                    last = tag;
                }
                Some(row) if version > row.version => {
                    let why = format!(
                        "the image has it in version {version}, this crust reads version {}",
                        row.version
                    );
                    refusals.block(0, row.name, why, remedy);
                }
                Some(_) => {}
            }
        }
    }

    /// Checks that the contents to which records refer are in the image; `has` tells whether they are. Otherwise a
    /// corrupt number could make the restore allocate memory without bound.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] with the kind and the owner of the first record whose contents are missing, or that is not
    /// what its kind encodes.
    pub fn check_extents(&self, records: &[Record], has: impl Fn(Extent) -> bool) -> Result<()> {
        for record in records {
            // Unknown kinds and versions are refused by name, which is more than could be said here.
            let row = self.get(record.tag);
            let Some(row) = row.filter(|row| record.version <= row.version) else {
                continue;
            };
            let extents = (row.extents)(record)?;
            if let Some(Extent { offset, bytes }) = extents
                .into_iter()
                .find(|&extent| extent.bytes != 0 && !has(extent))
            {
                return Err(Error::malformed(
                    format!("{} of object {}.{}", row.name, record.owner, record.part),
                    format!(
                        "the image does not have the {bytes} bytes at {offset:#x} that it refers to"
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Returns the name and the contents of a record in human-readable form.
    ///
    /// # Errors
    ///
    /// If the body is not what its kind encodes.
    pub fn describe(&self, record: &Record) -> Result<(String, String)> {
        match self.get(record.tag) {
            Some(row) => Ok((row.name.into(), (row.describe)(record)?)),
            None => Ok((
                format!("unknown kind {:#06x}", record.tag),
                format!("{} bytes; a newer crust wrote it", record.body.len()),
            )),
        }
    }

    /// Returns the text of `docs/support.md`: what is carried over, kind by kind.
    #[must_use]
    pub fn support(&self) -> String {
        let mut text = String::from(INTRODUCTION);
        for (family, title) in [
            (Family::Task, "Processes and threads"),
            (Family::Mapping, "Memory"),
            (Family::File, "Open files"),
            (Family::Namespace, "Namespaces"),
        ] {
            let _ = write!(
                text,
                "\n## {title}\n\n| kind | tag | what is carried over |\n|---|---|---|\n"
            );
            for row in self.0.iter().filter(|row| Family::of(row.tag) == family) {
                let support = sentence(row.support);
                let _ = writeln!(text, "| {} | `{:#06x}` | {support} |", row.name, row.tag);
            }
        }
        text
    }
}

/// Captures everything of a frozen tree except the contents of its memory. Returns the files whose contents are to be
/// copied.
///
/// # Errors
///
/// If something breaks; what cannot be carried over goes to [`Capture::refusals`] instead.
pub fn capture(capture: &mut Capture<'_>) -> Result<Vec<PageJob>> {
    let begun = Instant::now();
    let tree = capture.tree;
    let texts = texts::read(tree, capture.hooks.features().read_only)?;
    tracing::debug!(took = ?begun.elapsed(), "/proc is read");
    capture.hooks.prepare(tree, &texts)?;
    tracing::debug!(took = ?begun.elapsed(), "the program was asked");
    namespace::time::capture(&texts, capture)?;
    task::capture(&texts, capture)?;
    tracing::debug!(took = ?begun.elapsed(), "tasks");
    memory::capture(capture)?;
    tracing::debug!(took = ?begun.elapsed(), "and mappings");
    file::capture(capture)?;
    tracing::debug!(took = ?begun.elapsed(), "and files");
    let pathless = capture.notes.take::<PathlessFiles>();
    pathless.settle(tree, &mut capture.refusals);
    let segments = capture.notes.take::<FoundSegments>();
    Ok(pathless.into_taken().chain(segments.into_taken()).collect())
}

/// Plans the restore of all records of an image.
///
/// # Errors
///
/// If the image is inconsistent; what prevents the restore goes to [`PlanCx::refusals`] instead.
pub fn plan(cx: &mut PlanCx<'_>) -> Result<()> {
    Registry::all().refuse_unknown(cx.records, &mut cx.refusals);
    if cx.refusals.forbid() {
        // The other records may refer to unknown ones.
        return Ok(());
    }
    namespace::plan(cx)?;
    task::plan(cx)?;
    // Planning the files determines which descriptor numbers are free; the memory needs some.
    file::plan(cx)?;
    memory::plan(cx)
}

/// Checks what on this machine is in the way of the objects of an image, or is missing for them.
///
/// # Errors
///
/// If a record cannot be decoded.
pub fn conflicts(
    records: &[Record],
    options: &RestoreOptions,
    features: KernelFeatures,
    refusals: &mut Refusals,
) -> Result<()> {
    task::conflicts(records, refusals)?;
    namespace::conflicts(records, options, features, refusals)?;
    file::conflicts(records, refusals)?;
    memory::conflicts(records, refusals)?;
    pathless::conflicts(records, refusals)
}

/// Formats a text as a table cell: on one line, with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut letters = words.chars();
    let mut sentence: String = letters
        .next()
        .into_iter()
        .flat_map(char::to_uppercase)
        .collect();
    sentence.push_str(&letters.as_str().replace('|', "\\|"));
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    sentence
}

const INTRODUCTION: &str = "\
# What crust carries over

Made by `crust support` from the tables of kinds in `userspace/kinds/src/`; do not edit. A kind has a number in
images, its tag, which is never used for anything else.

Whatever a program has that is not in these tables is *refused*, with its reason and a remedy, before anything is touched:
`crust explain PID` shows the list for a program. `crust check` shows what a kernel lacks, and what that costs.

What a kernel shows to nobody cannot be refused either, and is lost: all I/O ports at once (`iopl`), the session keyring, L1D
flushing. Some things it tells only to the process itself: that it is in a Landlock domain, a closed TSC or CPUID, a local descriptor
table that is not in use, keyrings, restrictions of io_uring. Without the module a process is asked for these
(for Landlock, if it has `no_new_privs` or CAP_SYS_PTRACE), and its main thread, and they are refused. With the module nothing is
asked of the process itself, and they are lost, as is permission for AMX that no thread makes use of; `explain --backend mainline` asks
all the same.
";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use crust_model::object::State;

    use super::*;
    use crate::contents::Runs;
    use crate::memory::pages::StoredPages;

    #[test]
    fn no_tag_or_name_is_used_twice_and_every_tag_is_of_its_family() {
        for (family, rows) in [
            (Family::Task, task::rows().collect::<Vec<_>>()),
            (Family::Mapping, memory::rows().collect()),
            (Family::File, file::rows().collect()),
            (Family::Namespace, namespace::rows().collect()),
        ] {
            for row in rows {
                assert_eq!(Family::of(row.tag), family, "{}", row.name);
            }
        }
        let all = Registry::all();
        let tags: HashSet<_> = all.0.iter().map(|row| row.tag).collect();
        let names: HashSet<_> = all.0.iter().map(|row| row.name).collect();
        assert_eq!((tags.len(), names.len()), (all.0.len(), all.0.len()));
    }

    #[test]
    fn words_become_a_sentence_in_a_cell() {
        assert_eq!(sentence("of  all\n kinds, a|b"), "Of all kinds, a\\|b.");
        assert_eq!(sentence("/dev/null."), "/dev/null.");
        for row in Registry::all().0 {
            assert!(!row.support.trim().is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn contents_that_the_image_does_not_have_are_found() {
        let mut runs = Runs::default();
        runs.push(0..8192);
        let pages = StoredPages {
            offset: 4096,
            runs,
            ..StoredPages::default()
        };
        let records = [pages.record(3, 0).unwrap()];
        let registry = Registry::all();
        let image = |end: u64| move |extent: Extent| extent.offset + extent.bytes <= end;
        registry.check_extents(&records, image(12288)).unwrap();
        let error = registry.check_extents(&records, image(12287)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "pages of object 3.0: the image does not have the 8192 bytes at 0x1000 that it refers to"
        );
    }

    #[test]
    fn a_record_of_a_newer_crust_is_shown_as_such_and_not_restored() {
        let record = Record {
            tag: 0x7f01,
            version: 1,
            owner: 0,
            part: 0,
            body: vec![1, 2],
        };
        let kinds = Registry::all();
        let (name, what) = kinds.describe(&record).unwrap();
        assert_eq!(name, "unknown kind 0x7f01");
        assert_eq!(what, "2 bytes; a newer crust wrote it");

        let name = task::name::Name::TAG;
        let newer = Record {
            tag: name,
            version: 9,
            ..record.clone()
        };
        let mut refusals = Refusals::default();
        kinds.refuse_unknown(&[record.clone(), record, newer], &mut refusals);
        assert!(refusals.forbid());
        let objects: Vec<_> = refusals.as_slice().iter().map(|one| &one.object).collect();
        let name = kinds.get(name).unwrap().name;
        assert_eq!(objects, [name, "kind 0x7f01"]);
    }
}
