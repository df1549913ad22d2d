// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The table of all kinds of objects that an image can hold.
//!
//! Dump, restore, conflicts, `inspect`, `explain` and `docs/support.md` derive from it; what is not listed here cannot
//! be carried over.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write;
use std::time::Instant;

use crust_hooks::Hooks;
use crust_image::Record;
use crust_model::Result;
use crust_model::effect::Effect;
use crust_model::image::{Image, Owned};
use crust_model::object::{Owner, Row};
use crust_model::refusal::{Refusals, Subject};
use crust_tracee::frozen_process::FrozenProcess;
use crust_tracee::texts;

use crate::capture::{Capture, Captured, DumpOptions};
use crate::conflicts::Conflicts;
use crate::descriptor::table::Table;
use crate::file::by_path::ByPath;
use crate::kind::{End, Entry, Kinds};
use crate::memory::{self, Mappings};
use crate::namespace::time::Clocks;
use crate::notes::Notes;
use crate::plan_context::PlanCx;
use crate::{file, ipc, pathless, task};

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

/// All kinds. The order matters in three ways: what comes first is captured, finished and planned first; a mapping, an
/// open file or a pathless file is of the first kind that matches it; and the aspects of a process or thread get their
/// steps within a stage in this order, so those that drop privileges come last.
pub const KINDS: Kinds = Kinds(TABLE);

static TABLE: &[Entry] = &[
    Entry::of::<Clocks>(),
    Entry::of::<task::Member>(),
    Entry::of::<task::usage::Usage>(),
    // Processes.
    Entry::of::<task::actions::Actions>(),
    Entry::of::<task::settings::Settings>(),
    Entry::of::<task::limits::Limits>(),
    Entry::of::<task::directories::Directories>(),
    Entry::of::<task::posix_timers::PosixTimers>(),
    Entry::of::<task::itimers::Itimers>(),
    Entry::of::<task::pending::Shared>(),
    Entry::of::<task::seccomp::Seccomp>(),
    // Threads.
    Entry::of::<task::name::Name>(),
    Entry::of::<task::scheduling::Scheduling>(),
    Entry::of::<task::timer_slack::Slack>(),
    Entry::of::<task::start_time::Started>(),
    Entry::of::<task::personality::Personality>(),
    Entry::of::<task::flags::Flags>(),
    Entry::of::<task::altstack::AltStack>(),
    Entry::of::<task::clear_child_tid::ClearChildTid>(),
    Entry::of::<task::rseq::Rseq>(),
    Entry::of::<task::robust::RobustList>(),
    Entry::of::<task::pending::Private>(),
    Entry::of::<task::shadow_stack::Features>(),
    Entry::of::<task::ioperm::Ports>(),
    Entry::of::<task::tls_segments::Segments>(),
    Entry::of::<task::core_sched::Core>(),
    Entry::of::<task::credentials::Credentials>(),
    Entry::of::<task::labels::Labels>(),
    Entry::of::<task::dispatch::Dispatch>(),
    Entry::of::<task::registers::Registers>(),
    // Open files. Planning them determines which descriptor numbers are free; the memory needs some.
    Entry::of::<Table>(),
    Entry::of::<ByPath<file::procfile::ProcFile>>(),
    Entry::of::<file::pathless::PathlessFile>(),
    Entry::of::<ByPath<file::regular::Regular>>(),
    Entry::of::<ByPath<file::directory::Directory>>(),
    Entry::of::<file::pipe::PipeEnd>(),
    Entry::of::<file::eventfd::Eventfd>(),
    Entry::of::<file::epoll::Epoll>(),
    Entry::of::<file::unix::UnixSocket>(),
    Entry::of::<file::timerfd::Timerfd>(),
    Entry::of::<file::signalfd::Signalfd>(),
    Entry::of::<file::inotify::Inotify>(),
    Entry::of::<file::pidfd::Pidfd>(),
    Entry::of::<file::uring::Uring>(),
    Entry::of::<ByPath<file::device::Device>>(),
    Entry::of::<file::pty::Master>(),
    Entry::of::<file::pty::slave::Slave>(),
    Entry::of::<file::terminal::Terminal>(),
    // Memory.
    Entry::of::<memory::address_space::AddressSpace>(),
    Entry::of::<memory::mapped_file::MappedFiles>(),
    Entry::of::<memory::policy::MemoryPolicies>(),
    Entry::of::<memory::protection_keys::ProtectionKeys>(),
    Entry::of::<memory::write_execute::WriteExecute>(),
    Entry::of::<Mappings<memory::vdso::Vdso>>(),
    Entry::of::<Mappings<memory::shadow_stack::ShadowStack>>(),
    Entry::of::<Mappings<memory::private_anonymous::PrivateAnonymous>>(),
    Entry::of::<Mappings<memory::huge_anonymous::HugeAnonymous>>(),
    Entry::of::<Mappings<memory::file_backed::PrivateFile>>(),
    Entry::of::<Mappings<memory::shared_anonymous::SharedAnonymous>>(),
    Entry::of::<Mappings<memory::attach::Attach>>(),
    Entry::of::<Mappings<memory::uring_memory::UringMemory>>(),
    Entry::of::<Mappings<memory::file_backed::SharedFile>>(),
    Entry::of::<memory::pages::StoredPages>(),
    Entry::of::<memory::pages::SharedMemory>(),
    Entry::of::<pathless::memfd::Memfd>(),
    Entry::of::<pathless::ghost::Ghost>(),
    Entry::of::<ipc::sysv_shm::Segment>(),
];

impl Kinds {
    /// Decodes the records of an image, each once. Records that this crust does not know, and newer versions of those
    /// that it knows, are refused, once per kind: a restore without them would lose something that a newer crust could
    /// save.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`](crust_model::Error::Malformed) if a record is not what its kind encodes, or is there twice.
    pub fn decode(self, records: &[Record], refusals: &mut Refusals) -> Result<Image> {
        let mut image = Image::default();
        let mut unknown = BTreeSet::new();
        let rows: HashMap<u16, Row> = self.0.iter().map(|kind| (kind.row.tag, kind.row)).collect();
        for record in records {
            match rows.get(&record.tag) {
                Some(row) if record.version <= row.version => {
                    image.insert(Owned {
                        owner: Owner::of(record),
                        object: (row.decode)(record)?,
                    })?;
                }
                row => {
                    // Which version an unknown kind has says nothing.
                    let version = row.map(|_| record.version);
                    unknown.insert((record.tag, version));
                }
            }
        }
        for (tag, version) in unknown {
            let remedy = "restore it with the crust that wrote it, or a newer one";
            match (rows.get(&tag), version) {
                (Some(row), Some(version)) => {
                    let why = format!(
                        "the image has it in version {version}, this crust reads version {}",
                        row.version
                    );
                    refusals.block(Subject::Image, "newer-image", row.name, why, remedy);
                }
                _ => {
                    let why = "the image has objects of a kind that this crust does not know";
                    refusals.block(
                        Subject::Image,
                        "newer-image",
                        format!("kind {tag:#06x}"),
                        why,
                        remedy,
                    );
                }
            }
        }
        Ok(image)
    }

    /// Returns the text of `docs/support.md`: what is carried over, kind by kind.
    #[must_use]
    pub fn support(self) -> String {
        let mut text = String::from(INTRODUCTION);
        let mut rows: Vec<Row> = self.0.iter().map(|kind| kind.row).collect();
        rows.sort_by_key(|row| row.tag);
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
            for row in rows.iter().filter(|row| Family::of(row.tag) == family) {
                let support = sentence(row.support);
                let _ = writeln!(text, "| {} | `{:#06x}` | {support} |", row.name, row.tag);
            }
        }
        text
    }
}

/// Captures everything of a frozen tree except the contents of its memory.
///
/// # Errors
///
/// If something breaks; what cannot be carried over is among the refusals instead.
pub fn capture(
    tree: &[FrozenProcess],
    hooks: &dyn Hooks,
    options: &DumpOptions,
) -> Result<Captured> {
    let begun = Instant::now();
    let texts = texts::read(tree, hooks.features().read_only)?;
    tracing::debug!(took = ?begun.elapsed(), "/proc is read");
    hooks.prepare(tree, &texts)?;
    tracing::debug!(took = ?begun.elapsed(), "the program was asked");
    let mut cx = Capture {
        hooks,
        options,
        tree,
        texts: &texts,
        image: Image::default(),
        jobs: Vec::new(),
        refusals: Refusals::default(),
        notes: Notes::default(),
    };
    for kind in KINDS.0 {
        (kind.capture)(KINDS, &mut cx)?;
    }
    for kind in KINDS.0 {
        (kind.finish)(KINDS, &mut cx)?;
    }
    tracing::debug!(took = ?begun.elapsed(), "all is captured");
    Ok(Captured {
        image: cx.image,
        jobs: cx.jobs,
        refusals: cx.refusals,
    })
}

/// Plans the restore of all objects of an image.
///
/// # Errors
///
/// If the image is inconsistent; what prevents the restore goes to [`PlanCx::refusals`] instead.
pub fn plan(cx: &mut PlanCx<'_>) -> Result<()> {
    KINDS.0.iter().try_for_each(|kind| (kind.plan)(KINDS, cx))
}

/// Checks what on this machine is in the way of the objects of an image, or is missing for them.
///
/// # Errors
///
/// If the image is inconsistent, or the machine cannot be queried.
pub fn conflicts(cx: &mut Conflicts<'_>) -> Result<()> {
    let mut kinds = KINDS.0.iter();
    kinds.try_for_each(|kind| (kind.conflicts)(KINDS, cx))
}

/// Returns what happens outside of the tree by the end of an operation, in the order in which it is to be prepared.
#[must_use]
pub fn effects(end: End, image: &Image) -> Vec<Box<dyn Effect + '_>> {
    let kinds = KINDS.0.iter();
    kinds.filter_map(|kind| (kind.effect)(end, image)).collect()
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

Made by `crust support` from the table of kinds, `userspace/kinds/src/registry.rs`; do not edit. A kind has a number in
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

    #[test]
    fn no_tag_or_name_is_used_twice_and_every_tag_is_of_a_family() {
        let rows = || KINDS.0.iter().map(|kind| kind.row);
        let tags: HashSet<_> = rows().map(|row| row.tag).collect();
        let names: HashSet<_> = rows().map(|row| row.name).collect();
        assert_eq!((tags.len(), names.len()), (KINDS.0.len(), KINDS.0.len()));
        for row in rows() {
            assert_ne!(Family::of(row.tag), Family::Unknown, "{}", row.name);
            assert!(!row.support.trim().is_empty(), "{}", row.name);
        }
    }

    #[test]
    fn words_become_a_sentence_in_a_cell() {
        assert_eq!(sentence("of  all\n kinds, a|b"), "Of all kinds, a\\|b.");
        assert_eq!(sentence("/dev/null."), "/dev/null.");
    }

    #[test]
    fn records_of_a_newer_crust_are_refused_once_per_kind() {
        let record = |tag, version, owner| Record {
            tag,
            version,
            owner,
            part: 0,
            body: vec![1, 2],
        };
        let name = task::name::Name::TAG;
        let records = [
            record(0x7f01, 1, 0),
            record(0x7f01, 2, 1),
            record(name, 9, 0),
            record(name, 9, 1),
        ];
        let mut refusals = Refusals::default();
        let image = KINDS.decode(&records, &mut refusals).unwrap();
        assert!(image.is_empty() && refusals.forbid());
        let objects: Vec<_> = refusals.as_slice().iter().map(|one| &one.object).collect();
        assert_eq!(objects, [task::name::Name::NAME, "kind 0x7f01"]);
    }
}
