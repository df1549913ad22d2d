// SPDX-License-Identifier: Apache-2.0 OR MIT

//! NUMA policies: the policy of each thread (`set_mempolicy(2)`) tells on which nodes of the machine memory is
//! allocated, and that of an address range (`mbind(2)`) takes precedence over it.
//!
//! `/proc/PID/task/TID/numa_maps` shows for each mapping its policy, or else that of the thread, and does not say which
//! of the two it is. The page of `[vsyscall]` never has a policy of its own, the vDSO hardly ever: they show the policy
//! of the thread. A mapping that shows the same for all threads, and whose threads all have that policy, is taken for
//! one without its own. The node on which a page was is not carried over; the page is allocated according to the policy
//! again.

pub mod mode;
pub mod numa_maps;

use std::collections::BTreeSet;

use crust_hooks::Hooks;
use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Call, Stage};
use crust_model::refusal::Refusals;
use crust_model::words::count;
use crust_proc::smaps::Vma;
use crust_tracee::parallel;
use serde::{Deserialize, Serialize};

pub use self::mode::Policy;
use self::mode::{MODES, RELATIVE, parse_nodes};
pub use self::numa_maps::read;
use self::numa_maps::{of_thread, parse};
use super::MemoryCapture;
use super::aspect::{Moment, SpaceAspect};
use super::layout::Layout;
use crate::conflicts::Conflicts;
use crate::kind::{Kind, Kinds};
use crate::memory::aspect::OfSpace;
use crate::task::tree;

/// An address range that has a policy of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The address of the first byte.
    pub start: u64,
    /// The length in bytes.
    pub length: u64,
    /// The policy of the range.
    pub policy: Policy,
}

/// All policies of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicies {
    /// The policies of the threads, indexed by thread number; empty if all have the default.
    pub threads: Vec<Policy>,
    /// The policies of address ranges.
    pub bound: Vec<Bound>,
}

impl State for MemoryPolicies {
    const TAG: u16 = 0x0203;
    const NAME: &'static str = "memory policies";
    const SUPPORT: &'static str =
        "of each thread and each mapping: mode, flags and nodes; no kernel tells of home nodes";

    fn describe(&self) -> String {
        let threads = self.threads.iter().map(|policy| {
            let name = MODES.get((policy.mode & 0xff) as usize);
            format!("{} {:?}, ", name.unwrap_or(&"?"), policy.nodes)
        });
        let threads: String = threads.take(1).collect();
        format!(
            "{threads}{}",
            count(self.bound.len() as u64, "mapping", "mappings")
        )
    }
}

/// Returns the call that sets the policy of a thread.
fn set(policy: &Policy) -> Call {
    let (mask, bits) = policy.mask();
    let args = [u64::from(policy.mode).into(), mask.into(), bits.into()];
    Call::new("memory policy", libc::SYS_set_mempolicy, args)
}

impl Bound {
    fn call(&self) -> Call {
        let end = self.start + self.length;
        let (mask, bits) = self.policy.mask();
        Call::new(
            format!("memory {:x}-{end:x}: policy", self.start),
            libc::SYS_mbind,
            [
                self.start.into(),
                self.length.into(),
                u64::from(self.policy.mode).into(),
                mask.into(),
                bits.into(),
                0.into(),
            ],
        )
    }
}

/// Returns the nodes from which crust, and so what it restores, may allocate memory; `None` if the kernel knows of
/// none.
fn allowed_nodes() -> Option<BTreeSet<u32>> {
    std::fs::metadata("/proc/self/numa_maps").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    match crust_proc::Fields::new(status).get("Mems_allowed_list") {
        Some(list) => parse_nodes(list),
        // This is a kernel without control groups of memory nodes.
        None => {
            let nodes = std::fs::read_to_string("/sys/devices/system/node/has_memory").ok()?;
            parse_nodes(nodes.trim())
        }
    }
}

/// Returns the mappings with a policy of their own, with neighbours of the same policy merged. `shown` is what is shown
/// for a thread with the policy `of_thread`, and `to_other` for one with another policy, if there is one.
fn bound(
    vmas: &[Vma],
    shown: &[(u64, Policy)],
    of_thread: &Policy,
    to_other: &[(u64, Policy)],
) -> Vec<Bound> {
    let mut bound: Vec<Bound> = Vec::new();
    let (mut shown, mut to_other) = (shown.iter().peekable(), to_other.iter().peekable());
    for vma in vmas {
        let start = vma.range.start;
        while shown.next_if(|(at, _)| *at < start).is_some() {}
        while to_other.next_if(|(at, _)| *at < start).is_some() {}
        let Some((_, policy)) = shown.next_if(|(at, _)| *at == start) else {
            continue;
        };
        let same_to_other = to_other
            .next_if(|(at, _)| *at == start)
            .is_some_and(|(_, other)| other == policy);
        if policy.is_default() || (policy == of_thread && !same_to_other) {
            continue;
        }
        match bound.last_mut() {
            Some(last) if last.start + last.length == start && last.policy == *policy => {
                last.length += vma.length();
            }
            _ => bound.push(Bound {
                start,
                length: vma.length(),
                policy: policy.clone(),
            }),
        }
    }
    bound
}

impl Kind for MemoryPolicies {
    type Source = OfSpace;

    fn conflicts(_: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        for (owner, policies) in cx.image.all::<Self>() {
            policies.check(tree::number(cx.image, owner.task()), &mut cx.refusals);
        }
        Ok(())
    }
}

impl MemoryPolicies {
    /// Notes which nodes of memory this machine lacks.
    fn check(&self, task: i32, refusals: &mut Refusals) {
        let Some(allowed) = allowed_nodes() else {
            refusals.block(
                task,
                "memory-policy-kernel",
                "memory policy",
                "this kernel has no memory policies (CONFIG_NUMA)",
                "restore it on a kernel with CONFIG_NUMA",
            );
            return;
        };
        let of_memory = self.bound.iter().map(|bound| &bound.policy);
        let missing: BTreeSet<u32> = of_memory
            .chain(&self.threads)
            .filter(|policy| policy.mode & RELATIVE == 0)
            .flat_map(|policy| policy.nodes.difference(&allowed).copied())
            .collect();
        if !missing.is_empty() {
            refusals.block(
                task,
                "memory-policy-nodes",
                "memory policy",
                format!(
                    "it names nodes that this machine does not have, or whose memory crust may not use \
                     (cpuset.mems): {missing:?}"
                ),
                "restore it on a machine with as many nodes, or in a cgroup that allows them",
            );
        }
    }
}

impl SpaceAspect for MemoryPolicies {
    fn capture(vmas: &[Vma], found: &mut MemoryCapture<'_>, _: &dyn Hooks) -> Result<Option<Self>> {
        let process = found.process;
        let Some(text) = found.numa_maps.take() else {
            return Ok(None);
        };
        let shown = match parse(&text) {
            Ok(shown) => shown,
            Err(line) => {
                found.refusals.block(
                    process.pid,
                    "memory-policy-kind",
                    "memory policy",
                    format!("the kernel shows one that this crust does not know: {line}"),
                    "have the program set another one (set_mempolicy, mbind)",
                );
                return Ok(None);
            }
        };
        let witness = vmas
            .iter()
            .rev()
            .find(|vma| vma.name == b"[vdso]")
            .map(|vma| vma.range.start);
        let leader = shown
            .iter()
            .rev()
            .find(|(at, _)| *at >= 1 << 63 || witness == Some(*at))
            .or(shown.last())
            .map(|(_, policy)| policy.clone())
            .unwrap_or_default();
        let others = process.threads.get(1..).unwrap_or_default();
        let others = parallel::map(others, 64, |thread| {
            of_thread(process, thread.tid, &shown, &leader)
        });
        let threads = std::iter::once(Ok(leader)).chain(others);
        let mut threads: Vec<Policy> = threads.collect::<Result<_>>()?;
        let other = threads.iter().position(|policy| *policy != threads[0]);
        let text = match other {
            Some(other) => {
                let name = format!("task/{}/numa_maps", process.threads[other].tid);
                crust_proc::read_text(&process.proc, process.pid, &name)?
            }
            None => String::new(),
        };
        let to_other = parse(&text).unwrap_or_default();
        if process.ended_leader.is_some() {
            // The ended leader comes first while it is restored, and the other threads start with
            // its policy.
            threads.insert(0, threads[0].clone());
        }
        let policies = Self {
            bound: bound(vmas, &shown, &threads[0], &to_other),
            threads: if threads.iter().all(Policy::is_default) {
                Vec::new()
            } else {
                threads
            },
        };
        if policies.bound.iter().any(|one| one.policy.can_have_home()) {
            found.refusals.lose(
                process.pid,
                "memory-policy-home-node",
                "memory policy",
                "no kernel interface tells whether memory has a home node (set_mempolicy_home_node): it will \
                 have none",
                "have the program set it again after the restore if it needs that",
            );
        }
        let none = policies == Self::default();
        Ok((!none).then_some(policies))
    }

    fn plan(&self, moment: Moment, layout: &mut Layout<'_>) {
        match moment {
            Moment::Empty => {
                if let Some((leader, others)) = self.threads.split_first() {
                    // The other threads start with the policy of the leader.
                    layout.call(Stage::MapMemory, set(leader));
                    for (number, own) in (1..).zip(others) {
                        if own != leader {
                            layout.call_of(number, Stage::Attributes, set(own));
                        }
                    }
                }
            }
            Moment::Mapped => {
                for bound in &self.bound {
                    layout.call(Stage::ShareMemory, bound.call());
                }
            }
            Moment::Filled => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(mode: u32, nodes: &[u32]) -> Policy {
        Policy {
            mode,
            nodes: nodes.iter().copied().collect(),
        }
    }

    #[test]
    fn neighbours_are_bound_at_once_and_what_shows_the_policy_of_the_thread_not_at_all() {
        let text = "1000 bind:0\n2000 bind:0 anon=1\n4000 bind:0\n5000 default\n\
                    6000 interleave:0 heap\n7000 interleave:0\nffffffffff600000 interleave:0\n";
        let other = "1000 bind:0\n6000 interleave:0\n7000 default\n";
        let vma = |start: u64, end: u64| Vma {
            range: start..end,
            ..Vma::default()
        };
        let vmas = [
            vma(0x1000, 0x2000),
            vma(0x2000, 0x3000),
            vma(0x4000, 0x5000),
            vma(0x5000, 0x6000),
            vma(0x6000, 0x7000),
            vma(0x7000, 0x8000),
        ];
        let ranges = |other: &str| -> Vec<_> {
            let (shown, other) = (parse(text).unwrap(), parse(other).unwrap());
            let bound = bound(&vmas, &shown, &policy(3, &[0]), &other);
            let pages = |one: &Bound| (one.start >> 12, one.length >> 12);
            bound.iter().map(pages).collect()
        };
        assert_eq!(ranges(""), [(1, 2), (4, 1)]);
        // It shows the same policy to another thread, so it has that policy itself.
        assert_eq!(ranges(other), [(1, 2), (4, 1), (6, 1)]);
    }

    /// Tests what the kernel of this machine writes.
    #[test]
    fn reads_the_policies_of_the_test() {
        let Ok(text) = std::fs::read_to_string("/proc/self/numa_maps") else {
            // This is a kernel without NUMA.
            return;
        };
        assert!(allowed_nodes().is_some_and(|nodes| !nodes.is_empty()));
        assert!(parse(&text).is_ok_and(|shown| !shown.is_empty()));
    }
}
