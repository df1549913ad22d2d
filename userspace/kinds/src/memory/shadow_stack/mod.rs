// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Shadow stacks (x86 CET): memory that is only written by calls and returns.
//!
//! The kernel makes one for a thread that enables them, remembers its place, and unmaps it when the thread ends
//! (arch/x86/kernel/shstk.c). It cannot be told where to make it. So once a process has all its memory and its threads,
//! all [gaps] are occupied, and each thread in turn enables its shadow stack while the only room left is where that
//! stack was. A program can map more of them (`map_shadow_stack`).
//!
//! A tracer can write to them. The code by which a thread makes calls for crust has no calls and returns of its own.

pub mod pointer;

use std::collections::BTreeMap;
use std::ops::Range;

use crust_arch::{ARCH_SHSTK_ENABLE, TASK_SIZE};
use crust_image::PAGE_SIZE;
use crust_model::plan::{Call, Data, Stage, Step};
use crust_model::refusal::Refusals;
use crust_model::{Error, Result};
use crust_proc::smaps::{Vma, vm_flag as t};
use crust_sys::{RemoteAddr, ptrace, word, xstate};
use crust_tracee::frozen_process::FrozenProcess;
use linux_raw_sys::general::__NR_map_shadow_stack;
use serde::{Deserialize, Serialize};

use self::pointer::MovePointer;
use super::area::Area;
use super::layout::Layout;
use super::{Content, MappingKind, MemoryCapture};
use crate::conflicts::Conflicts;
use crate::kind::Kinds;
use crate::memory::{Mappings, pages};
use crate::ranges::gaps;
use crate::task::tree;

const STAGE: Stage = Stage::ShadowStacks;
const ARCH_SHSTK_SHSTK: u64 = 1;
/// The lowest address of a shadow stack that the kernel makes.
const LOWEST: u64 = 4 << 30;
/// The flags that settings for a whole process give a shadow stack: `mlockall`,
/// `PR_SET_MEMORY_MERGE`.
const KEPT: u64 = t::LOCKED | t::LOCK_ON_FAULT | t::MERGEABLE;
/// The flags that show other changes by a program. (Shadow stacks never have huge pages:
/// mm/util.c:vm_mmap_shadow_stack.)
const CHANGED: u64 = t::EXEC
    | t::SEQUENTIAL
    | t::RANDOM
    | t::DONT_FORK
    | t::WIPE_ON_FORK
    | t::DONT_DUMP
    | t::HUGE_PAGE
    | t::SEALED;

/// A shadow stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowStack {
    /// The address range of the shadow stack.
    pub area: Area,
    /// The [`vm_flag`](crust_proc::smaps::vm_flag)s that it has beyond those of every shadow stack.
    pub vm_flags: u64,
    /// The thread that uses it; a program can have more shadow stacks than threads.
    pub user: Option<User>,
    /// The contents: addresses and bytes.
    pub contents: Vec<(u64, Vec<u8>)>,
}

/// The thread that uses a shadow stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The number of the thread in the process.
    pub thread: u32,
    /// The shadow stack pointer (SSP) of the thread.
    pub pointer: u64,
}

impl MappingKind for ShadowStack {
    const TAG: u16 = 0x0218;
    const NAME: &'static str = "shadow stack";
    const SUPPORT: &'static str = "Those of threads, at their place and with their contents, and others that a program has mapped. VmPeak grows. \
         If a program has mapped some, what the kernel takes away when a thread ends is another, of one page.";
    // Pages cannot be read into it; its few pages are in the record.
    const CONTENT: Content = Content::Elsewhere;

    fn matches(vma: &Vma) -> bool {
        vma.is(t::SHADOW_STACK)
    }

    fn capture(vma: &Vma, found: &mut MemoryCapture<'_>) -> Result<Option<Self>> {
        if !vma.is(t::READ | t::WRITE) || vma.is_any(CHANGED) || vma.key != 0 || vma.name != b"" {
            found.refusals.block(
                found.process.pid,
                "shadow-stack-changed",
                vma.title(),
                "a shadow stack that the program has changed (mprotect, madvise, mseal or a name)",
                "have the program leave its shadow stacks as the kernel made them",
            );
            return Ok(None);
        }
        let area = Area {
            vm_flags: t::READ | t::WRITE,
            ..Area::of(vma)
        };
        let mut contents = Vec::new();
        for range in pages::present(found.process, &area)?.ranges() {
            let mut bytes = vec![0; word::to_size(range.end - range.start)];
            found.read_memory(range.start, &mut bytes)?;
            contents.push((range.start, bytes));
        }
        Ok(Some(Self {
            area,
            vm_flags: vma.vm_flags & KEPT,
            user: found.shadow_stacks.take(&vma.range),
            contents,
        }))
    }

    fn area(&self) -> &Area {
        &self.area
    }

    /// Plans nothing: shadow stacks are made once there are threads, by [`make`].
    fn plan(_: &[Self], _: &mut Layout<'_>) -> Result<()> {
        Ok(())
    }

    fn describe(&self) -> String {
        let user = match self.user {
            Some(User { thread, pointer }) => format!("of thread {thread}, at {pointer:#x}"),
            None => "of no thread".into(),
        };
        let bytes: usize = self.contents.iter().map(|(_, bytes)| bytes.len()).sum();
        format!("{} {user}, {} KiB", self.area.describe(), bytes >> 10)
    }

    fn conflicts(_: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        if xstate::has_shadow_stacks() {
            return Ok(());
        }
        for (owner, _) in cx.image.all::<Mappings<Self>>() {
            cx.refusals.block(
                tree::number(cx.image, owner.task()),
                "shadow-stack-missing",
                "shadow stack",
                "this processor has no shadow stacks, or its kernel does not use them",
                "restore it where /proc/cpuinfo lists user_shstk",
            );
        }
        Ok(())
    }
}

/// The shadow stack pointers of the threads of a process, in order of address, each with whether a shadow stack was
/// found there.
#[derive(Debug, Default)]
pub struct Pointers(Vec<(User, bool)>);

impl Pointers {
    /// Reads the pointers of all threads of a process.
    ///
    /// # Errors
    ///
    /// Returns errors of the tracer.
    pub fn of(process: &FrozenProcess) -> Result<Self> {
        let mut all = Vec::new();
        if !xstate::has_shadow_stacks() {
            return Ok(Self(all));
        }
        for (number, thread) in process.numbered() {
            let pointer = ptrace::shadow_stack(thread.tid).map_err(|errno| {
                Error::task(thread.tid, "read the pointer of its shadow stack", errno)
            })?;
            let user = |pointer| User {
                thread: number,
                pointer,
            };
            all.extend(pointer.map(|pointer| (user(pointer), false)));
        }
        all.sort_unstable_by_key(|(user, _)| user.pointer);
        Ok(Self(all))
    }

    /// Returns the thread that uses a shadow stack.
    fn take(&mut self, range: &Range<u64>) -> Option<User> {
        // The pointer of an empty shadow stack is at its end.
        let first = self
            .0
            .partition_point(|(user, _)| user.pointer <= range.start);
        let (user, found) = self.0.get_mut(first)?;
        *found |= user.pointer <= range.end;
        found.then_some(*user)
    }

    /// Refuses threads that are on no shadow stack, or on that of another thread.
    pub fn refuse(&self, process: &FrozenProcess, refusals: &mut Refusals) {
        let mut lost = self.0.iter().filter(|(_, found)| !found).peekable();
        if lost.peek().is_none() {
            return;
        }
        let threads: BTreeMap<u32, i32> = process
            .numbered()
            .map(|(number, thread)| (number, thread.tid))
            .collect();
        for (user, _) in lost {
            let tid = threads.get(&user.thread).copied().unwrap_or(process.pid);
            refusals.block(
                tid,
                "shadow-stack-pointer",
                format!("thread {tid}"),
                format!(
                    "its shadow stack pointer is {:#x}, where it has no shadow stack of its own",
                    user.pointer
                ),
                "dump it when the thread is back on a shadow stack of its own",
            );
        }
    }
}

/// Makes the shadow stacks of a process, among all that it has mapped. `hard` is its hard limit for stacks.
pub fn make(list: &[ShadowStack], areas: &[Area], hard: u64, layout: &mut Layout<'_>) {
    let others = list.iter().any(|stack| stack.user.is_none());
    if others {
        make_mapped(list, hard, layout);
    } else {
        make_own(list, areas, hard, layout);
    }
}

/// Makes the shadow stacks of a program that has mapped some itself. Its threads may be on these, and nothing tells
/// which one the kernel has made for a thread. So all are mapped, and what the kernel makes is one page that nobody
/// uses.
fn make_mapped(list: &[ShadowStack], hard: u64, layout: &mut Layout<'_>) {
    for stack in list {
        let Range { start, end } = stack.area.range();
        let call = Call::new(
            stack.area.what("map a shadow stack"),
            __NR_map_shadow_stack.into(),
            [start.into(), (end - start).into(), 0.into()],
        );
        layout.call(STAGE, call.must_return(start));
        stack.fill(layout.task.thread, layout);
    }
    for User { thread, pointer } in list.iter().filter_map(|stack| stack.user) {
        layout.call_of(thread, STAGE, decide_size(PAGE_SIZE, hard));
        layout.call_of(thread, STAGE, switch_on());
        let pointer = MovePointer {
            from: None,
            to: pointer,
        };
        layout.operate_of(thread, STAGE, pointer);
    }
}

/// Makes the shadow stacks of a program all of which belong to threads.
fn make_own(list: &[ShadowStack], areas: &[Area], hard: u64, layout: &mut Layout<'_>) {
    let is_other = |area: &&Area| {
        list.binary_search_by_key(&area.start, |stack| stack.area.start)
            .is_err()
    };
    let mut taken = vec![layout.scratch()];
    let others = areas.iter().filter(is_other).map(Area::range);
    taken.extend(others.filter(|range| range.end <= TASK_SIZE));
    let least = list.iter().map(|stack| stack.area.length).min();
    let mut gaps = gaps::between(taken.clone(), LOWEST..TASK_SIZE);
    gaps.retain(|gap| least.is_some_and(|least| gap.end - gap.start >= least));
    // Returns the gap that contains an address.
    let around = |address| {
        let at = gaps.partition_point(|gap| gap.end <= address);
        gaps.get(at).filter(|gap| gap.contains(&address))
    };
    for gap in &gaps {
        layout.call(STAGE, gaps::occupy(gap));
    }
    for stack in list {
        let Some(User { thread, pointer }) = stack.user else {
            continue;
        };
        let range = stack.area.range();
        layout.call_of(thread, STAGE, decide_size(stack.area.length, hard));
        layout.call_of(thread, STAGE, gaps::free(&range));
        // The kernel looks for a gap that is one page larger, with a page left free below, and if there is none, for
        // one without that page. But it does not look again in an address space that is filled from below.
        layout.call_of(thread, STAGE, switch_on().may_fail());
        let below = range.start - PAGE_SIZE..range.start;
        if around(below.start).is_some() {
            layout.call_of(thread, STAGE, gaps::free(&below));
        }
        layout.call_of(thread, STAGE, switch_on());
        let pointer = MovePointer {
            from: Some(range.end),
            to: pointer,
        };
        layout.operate_of(thread, STAGE, pointer);
        stack.fill(thread, layout);
    }
    taken.extend(list.iter().map(|stack| stack.area.range()));
    for part in gaps::between(taken, LOWEST..TASK_SIZE) {
        if around(part.start).is_some() {
            layout.call(Stage::Attributes, gaps::free(&part));
        }
    }
}

/// Sets the size of the next shadow stack: the kernel makes one as large as a stack may be.
fn decide_size(size: u64, hard: u64) -> Call {
    let limit = Data::words(&[size, hard.max(size)]);
    let resource = u64::from(libc::RLIMIT_STACK);
    Call::new(
        format!("shadow stack: decide on {} KiB", size >> 10),
        libc::SYS_prlimit64,
        [0.into(), resource.into(), limit.into(), 0.into()],
    )
}

/// Enables the shadow stack of a thread; does nothing if it is enabled.
fn switch_on() -> Call {
    Call::new(
        "shadow stack: switch on",
        libc::SYS_arch_prctl,
        [ARCH_SHSTK_ENABLE.into(), ARCH_SHSTK_SHSTK.into()],
    )
}

impl ShadowStack {
    /// Writes the contents of a shadow stack that is in its place, and applies its flags.
    fn fill(&self, thread: u32, layout: &mut Layout<'_>) {
        for (address, bytes) in &self.contents {
            let step = Step::Write {
                label: "a shadow stack".into(),
                address: RemoteAddr(*address),
                bytes: bytes.clone(),
            };
            layout.step_of(thread, STAGE, step);
        }
        let area = Area {
            vm_flags: self.vm_flags,
            ..self.area.clone()
        };
        if area.is(t::MERGEABLE) {
            layout.call_of(thread, STAGE, area.madvise_call(libc::MADV_MERGEABLE));
        }
        if let Some(call) = area.lock_call() {
            layout.call_of(thread, STAGE, call);
        }
    }
}

#[cfg(test)]
mod tests {
    use crust_image::Record;
    use crust_model::object::State;
    use crust_model::plan::{Plan, ProcessId, TaskId};

    use super::*;
    use crate::memory::Mappings;
    use crate::memory::address_space::AddressSpace;
    use crate::memory::plan::tests::planned;
    use crate::memory::private_anonymous::PrivateAnonymous;

    const PAGE: u64 = PAGE_SIZE;

    fn stack(start: u64, pages: u64, user: Option<(u32, u64)>) -> ShadowStack {
        ShadowStack {
            area: Area {
                start,
                length: pages * PAGE,
                vm_flags: t::READ | t::WRITE,
            },
            user: user.map(|(thread, pointer)| User { thread, pointer }),
            contents: vec![(start, vec![1; 8])],
            ..ShadowStack::default()
        }
    }

    fn steps(plan: &Plan, stage: Stage, thread: u32) -> Vec<String> {
        let task = TaskId {
            thread,
            ..ProcessId(0).leader()
        };
        plan.stages()[&stage][&task]
            .iter()
            .map(|step| match step {
                Step::Call(call) => call.label.clone(),
                Step::Write { address, .. } => format!("write to {address}"),
                Step::Operate(operation) => format!("{operation:?}"),
                other => format!("{other:?}"),
            })
            .collect()
    }

    fn records(stacks: Vec<ShadowStack>) -> Vec<Record> {
        let heap = PrivateAnonymous {
            area: Area {
                start: 0x7f00_0000_0000,
                length: 16 * PAGE,
                vm_flags: t::READ | t::WRITE,
            },
            name: None,
        };
        [
            AddressSpace::default().record((0, 0)),
            Mappings(vec![heap]).record((0, 0)),
            Mappings(stacks).record((0, 0)),
        ]
        .into_iter()
        .collect::<Result<_>>()
        .unwrap()
    }

    #[test]
    fn each_is_made_where_the_only_room_is() {
        let plan = planned(&records(vec![
            stack(0x7f00_0010_0000, 4, Some((0, 0x7f00_0010_3ff8))),
            stack(0x7f00_0020_2000, 8, Some((1, 0x7f00_0020_a000))),
        ]))
        .unwrap();
        let scratch = plan.scratch.0;
        let end = scratch + crust_model::plan::scratch::SIZE;
        assert_eq!(
            steps(&plan, STAGE, 0),
            [
                format!("occupy 100000000-{scratch:x}"),
                format!("occupy {end:x}-7f0000000000"),
                "occupy 7f0000010000-7ffffffff000".into(),
                "shadow stack: decide on 16 KiB".into(),
                "free 7f0000100000-7f0000104000".into(),
                "shadow stack: switch on".into(),
                "free 7f00000ff000-7f0000100000".into(),
                "shadow stack: switch on".into(),
                "MovePointer { from: Some(139637977792512), to: 139637977792504 }".into(),
                "write to 0x7f0000100000".into(),
            ]
        );
        assert_eq!(steps(&plan, STAGE, 1)[1], "free 7f0000202000-7f000020a000");
        assert_eq!(
            steps(&plan, Stage::Attributes, 0),
            [
                format!("free 100000000-{scratch:x}"),
                format!("free {end:x}-7f0000000000"),
                "free 7f0000010000-7f0000100000".into(),
                "free 7f0000104000-7f0000202000".into(),
                "free 7f000020a000-7ffffffff000".into(),
            ]
        );
    }

    #[test]
    fn where_a_program_has_mapped_some_all_are_mapped() {
        let plan = planned(&records(vec![
            stack(0x7f00_0010_0000, 4, None),
            stack(0x7f00_0020_2000, 8, Some((0, 0x7f00_0020_a000))),
        ]))
        .unwrap();
        assert_eq!(
            steps(&plan, STAGE, 0),
            [
                "memory 7f0000100000-7f0000104000: map a shadow stack",
                "write to 0x7f0000100000",
                "memory 7f0000202000-7f000020a000: map a shadow stack",
                "write to 0x7f0000202000",
                "shadow stack: decide on 4 KiB",
                "shadow stack: switch on",
                "MovePointer { from: None, to: 139637978865664 }",
            ]
        );
    }

    #[test]
    fn a_pointer_is_in_one_or_at_its_end() {
        let user = |thread, pointer| User { thread, pointer };
        let all = [(1, 0x1ff8), (0, 0x3000), (2, 0x9000), (3, 0x9000)];
        let mut pointers = Pointers(all.map(|(thread, at)| (user(thread, at), false)).into());
        assert_eq!(pointers.take(&(0x1000..0x2000)), Some(user(1, 0x1ff8)));
        assert_eq!(pointers.take(&(0x2000..0x3000)), Some(user(0, 0x3000)));
        assert_eq!(pointers.take(&(0x3000..0x8000)), None);
        assert_eq!(pointers.take(&(0x8000..0x9000)), Some(user(2, 0x9000)));
        let lost: Vec<u32> = pointers
            .0
            .iter()
            .filter(|(_, found)| !found)
            .map(|(user, _)| user.thread)
            .collect();
        assert_eq!(lost, [3]);
    }
}
