// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An io_uring that is quiet: no request is under way. It is read from `fdinfo` (`io_uring/fdinfo.c`) and from its
//! memory, which crust maps alongside the program.
//!
//! The kernel shows requests that were not taken yet, but not all of those under way, so a ring has to satisfy three
//! rules ([`idle`]). It has nothing that is not taken, and nothing registered. It has as many completions as requests.
//! And all entries that its memory still holds are of kinds that end within the call that submits them: without this
//! rule, a request that waits and another that completed twice would satisfy the second one. (What remains is a ring
//! that had such a pair, and since then so many plain requests that no trace of it is left in the memory: that one
//! request is lost.) Event loops (libuv, and with it Node.js) have such a ring for each loop, to change what they watch
//! in batches.
//!
//! Libraries keep copies of the counters of a ring, which only the kernel advances. So a restored ring is *wound* on:
//! crust submits as many requests that do nothing ([`wind`]), and then writes back the contents of the memory. This
//! takes 75 ns each, hence [`MOST`].
//!
//! The kernel does not show with which flags a ring was made. Larger entries and completions are detected by the size
//! of the memory, and an array by its contents (one that names each entry at its own place is as good as none). Flags
//! that say when work is done are lost, as are settings that no request of such a ring uses (credentials, buffer
//! groups, worker limits), and what a thread has registered of its own (ring descriptors): no kernel shows them.
//!
//! Requests that the kernel declines in any case ([`uring::ask_for_restrictions`], [`uring::has_eventfd`]) reveal by
//! their error whether there are restrictions and an eventfd. Linux 7.3 reveals only restrictions of
//! `io_uring_register(2)` in this way; those of requests alone are lost.

pub mod idle;
pub mod rings;
pub mod wind;

use std::os::fd::{AsFd, BorrowedFd};

use crust_image::PAGE_SIZE;
use crust_model::object::State;
use crust_model::plan::{Arg, Call, Data};
use crust_model::refusal::{Refusals, Subject};
use crust_model::words::count;
use crust_model::{Error, Result};
use crust_sys::uring::{self, COMPLETION, ENTRY, OFFSET_ENTRIES, OFFSET_RINGS, Places, Region};
use crust_sys::word;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use self::idle::{Rule, Shown};
use super::collect::FileCapture;
use super::fd_plan::FdPlanner;
use super::probe::Probe;
use super::{DescriptionId, File, FileKind, Open};
use crate::file::OfFile;
use crate::kind::Kind;

/// The `/proc` link of every ring.
pub const LINK: &str = "anon_inode:[io_uring]";

const PAGE: usize = word::to_size(PAGE_SIZE);
/// The largest number of past requests with which a ring is restored: winding that many takes
/// seconds.
const MOST: u32 = 50_000_000;

const REMEDY: &str = "run the program without io_uring (many have an option for it; with \
     sysctl kernel.io_uring_disabled=2 they fall back to other calls)";

/// A quiet ring.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uring {
    /// The flags, owner and locks of the description.
    pub open: Open,
    /// The inode number of the ring, which its mappings have too.
    pub inode: u64,
    /// The number of submission queue entries, a power of two.
    pub entries: u32,
    /// The number of completion queue entries, a power of two.
    pub completions: u32,
    /// The number of requests so far, modulo 2^32.
    pub count: u32,
    /// The number of completions that were read.
    pub read: u32,
    /// Where the kernel placed the parts of the ring.
    pub places: Places,
    /// The memory of both rings, with the array if there is one.
    pub rings: Vec<u8>,
    /// The memory of the submission queue entries.
    pub requests: Vec<u8>,
}

impl State for Uring {
    const TAG: u16 = 0x0331;
    const NAME: &'static str = "io_uring";
    const SUPPORT: &'static str = "Quiet ones, as those of libuv (Node.js): nothing registered, no request under \
        way, and only EPOLL_CTL and NOP in their memory; 64 entries or more, no more than 50 million requests in \
        all. Entries, completions that were not read, counters. Flags that say when work is done are lost, and \
        what no such request uses: credentials, groups of buffers, limits of workers; registered descriptors of rings. \
        Restrictions of requests alone are lost too (Linux 7.3 does not show them); others are refused.";

    fn describe(&self) -> String {
        format!(
            "{}, {}, {} not read",
            count(self.entries.into(), "entry", "entries"),
            count(self.count.into(), "request", "requests"),
            count(
                self.count.wrapping_sub(self.read).into(),
                "completion",
                "completions"
            )
        )
    }
}

impl Uring {
    /// Returns the length of the memory of both rings with the array, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.places.array as usize + 4 * self.entries as usize
    }

    /// Makes a new ring of the same size.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`uring::make`].
    fn make_alike(&self) -> nix::Result<uring::Made> {
        uring::make(self.entries, self.completions)
    }
}

impl File for Uring {
    fn open(&self) -> &Open {
        &self.open
    }

    fn create(&self, id: DescriptionId, planner: &mut FdPlanner) -> Result<()> {
        let number = planner.creator(id)?.number;
        let params: Vec<u8> = uring::params(self.completions)
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        let call = Call::new(
            format!(
                "fd {number}: io_uring, {}",
                count(self.entries.into(), "entry", "entries")
            ),
            libc::SYS_io_uring_setup,
            [Arg::from(u64::from(self.entries)), Data::new(params).into()],
        );
        planner.make_cloexec(id, call)?;
        planner.set_flags(number, self.open.flags);
        let ring = self.clone();
        planner.operate(wind::WindRing { number, ring });
        Ok(())
    }

    fn check(&self, refusals: &mut Refusals) {
        let (why, remedy) = match self.make_alike() {
            Ok(made) if made.places == self.places => return,
            Ok(_) => (
                "this kernel arranges the memory of a ring in another way".to_owned(),
                "restore it on the kernel on which it was dumped",
            ),
            Err(errno) => (
                format!(
                    "this kernel makes no ring of {}: {errno}",
                    count(self.entries.into(), "entry", "entries")
                ),
                "allow io_uring (sysctl kernel.io_uring_disabled=0)",
            ),
        };
        refusals.block(Subject::Image, "uring-missing", Self::NAME, why, remedy);
    }
}

impl Kind for Uring {
    type Source = OfFile;
}

impl FileKind for Uring {
    fn matches(probe: &Probe) -> bool {
        probe.is_linked(LINK) && probe.flags & libc::O_PATH == 0
    }

    fn capture<'a>(probe: &Probe<'a>, cx: &mut FileCapture<'a>) -> Result<()> {
        match look(probe)? {
            Ok(state) => cx.keep(probe.id, state),
            Err(rule) => {
                cx.refuse(
                    probe,
                    "uring-busy",
                    format!("an io_uring that is not quiet: {rule}"),
                    REMEDY,
                );
                Ok(())
            }
        }
    }

    /// Refuses mappings that no descriptor of the process can make again.
    fn resolve_refs(cx: &mut FileCapture) -> Result<()> {
        rings::resolve_refs(cx)
    }
}

/// Returns the state of a ring, or the rule that it breaks.
fn look(probe: &Probe) -> Result<std::result::Result<Uring, Rule>> {
    let shown = match idle::shown(probe) {
        Ok(shown) => shown,
        Err(rule) => return Ok(Err(rule)),
    };
    let ring = probe.take()?;
    if let Err(rule) = settings(ring.as_fd(), &shown) {
        return Ok(Err(rule));
    }
    let mut state = Uring {
        open: probe.open(),
        inode: probe.identity.ino,
        entries: shown.entries,
        completions: shown.completions,
        count: shown.count,
        read: shown.read,
        ..Uring::default()
    };
    state.places = match state.make_alike() {
        Ok(made) => made.places,
        Err(errno) => return Ok(Err(format!("crust cannot make one of its size: {errno}"))),
    };
    Ok(contents(ring.as_fd(), &mut state).map(|()| state))
}

/// Checks that the settings that can be queried are those of a plain ring, with no more requests than can be made
/// again.
fn settings(ring: BorrowedFd<'_>, shown: &Shown) -> std::result::Result<(), Rule> {
    let answer = match uring::ask_for_restrictions(ring) {
        Errno::EBADFD => None,
        Errno::EACCES => Some("it is restricted (IORING_REGISTER_RESTRICTIONS)".to_owned()),
        Errno::EEXIST => Some("only one thread may use it (IORING_SETUP_SINGLE_ISSUER)".to_owned()),
        _ => Some("it is not enabled (IORING_SETUP_R_DISABLED)".to_owned()),
    };
    if let Some(rule) = answer {
        return Err(rule);
    }
    if uring::has_eventfd(ring) {
        return Err("it signals an eventfd (IORING_REGISTER_EVENTFD)".into());
    }
    if shown.count > MOST {
        return Err(format!(
            "it has had {} requests, which would take too long to make again (the most is {MOST})",
            shown.count
        ));
    }
    Ok(())
}

/// Reads the memory of the ring.
fn contents(ring: BorrowedFd<'_>, state: &mut Uring) -> std::result::Result<(), Rule> {
    let pages = |bytes: usize| bytes.next_multiple_of(PAGE);
    let entries = ENTRY * state.entries as usize;
    let rings = state.length();
    let first = state.places.completions as usize;
    let completions = first + COMPLETION * state.completions as usize;
    // These are the sizes in io_uring/io_uring.c:rings_size with IORING_SETUP_SQE128 and
    // IORING_SETUP_CQE32.
    let (large, larger) = (2 * entries, 2 * completions);
    if pages(large) == pages(entries) || pages(larger) <= pages(rings) {
        return Err(format!(
            "with {} entries and room for {} completions it is too small to tell how large these are \
             (IORING_SETUP_SQE128, IORING_SETUP_CQE32)",
            state.entries, state.completions
        ));
    }
    let map = |offset, length| Region::map(ring, offset, length);
    if map(OFFSET_RINGS, pages(rings) + PAGE).is_ok() {
        return Err("it has large completions (IORING_SETUP_CQE32)".into());
    }
    let unread = |_| {
        "its memory is not that of a plain ring (IORING_SETUP_SQE128, IORING_SETUP_NO_MMAP), or cannot be read"
            .to_owned()
    };
    let requests = map(OFFSET_ENTRIES, pages(entries)).map_err(unread)?;
    state.requests = requests.read().map_err(unread)?;
    state.requests.truncate(entries);
    // Without an array the region may be a page shorter.
    let region = map(OFFSET_RINGS, pages(rings))
        .or_else(|_| map(OFFSET_RINGS, pages(completions)))
        .map_err(unread)?;
    let mut bytes = region.read().map_err(unread)?;
    bytes.truncate(rings);
    idle::entries(&state.requests)?;
    idle::completions(&bytes[first..completions])?;
    let word = |place: u32| region.load(place);
    let places = &state.places;
    if word(places.sq_mask) != state.entries - 1
        || word(places.cq_mask) != state.completions - 1
        || word(places.sq_head) != state.count
        || word(places.cq_tail) != state.count
    {
        return Err("its memory is not laid out as that of other rings here".into());
    }
    if word(places.sq_flags) != 0 {
        return Err("the kernel has something to tell the program (IORING_SQ_*)".into());
    }
    let array = bytes.get(places.array as usize..).unwrap_or_default();
    if !idle::has_array(array, &state.requests, state.count)? {
        bytes.truncate(completions);
    }
    state.rings = bytes;
    Ok(())
}

/// Checks that the sizes of a ring of an image allow its memory to be written.
///
/// # Errors
///
/// Returns [`Error::Malformed`] if they make no sense.
pub fn check(ring: &Uring) -> Result<()> {
    let is_sane = ring.entries.is_power_of_two()
        && ring.completions.is_power_of_two()
        && ring.requests.len() <= ENTRY * ring.entries as usize
        && ring.rings.len() <= ring.length()
        && ring.count <= MOST;
    match is_sane {
        true => Ok(()),
        false => Err(Error::malformed(Uring::NAME, "its sizes make no sense")),
    }
}
