// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Who makes which thread, and who installs which filter, so that what threads have in common is one
//! object: a thread inherits the filters that its maker has at that moment, and a filter can only be
//! added to them.
//!
//! The chains of the threads are a tree of which they have the beginnings in common. The first thread
//! goes along its own chain. At each branch that leaves it there, it makes one of those that go that
//! way, who goes along *its* chain and makes the others.

use std::collections::BTreeMap;

/// What a thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It makes the thread of this number.
    Make(u32),
    /// It installs this filter.
    Install(u32),
}

/// A thread, at some point of its chain, with those that it has to see to: their chains are the same up
/// to there.
struct Walk {
    thread: u32,
    others: Vec<u32>,
    depth: usize,
}

/// For the chains of all threads, the first of which is there: who does what, in this order.
#[must_use]
pub fn order(chains: &[Vec<u32>]) -> Vec<(u32, Act)> {
    let chain = |thread: u32| &chains[thread as usize];
    let mut acts = Vec::new();
    let mut walks = vec![Walk {
        thread: 0,
        others: (1..chains.len() as u32).collect(),
        depth: 0,
    }];
    while let Some(walk) = walks.pop() {
        let Walk {
            thread,
            mut others,
            mut depth,
        } = walk;
        loop {
            let next = chain(thread).get(depth);
            let mut along = Vec::new();
            let mut branches: BTreeMap<u32, (u32, Vec<u32>)> = BTreeMap::new();
            for other in others {
                match chain(other).get(depth) {
                    Some(filter) if Some(filter) == next => along.push(other),
                    None => acts.push((thread, Act::Make(other))),
                    Some(filter) => match branches.get_mut(filter) {
                        Some((_, behind)) => behind.push(other),
                        None => {
                            acts.push((thread, Act::Make(other)));
                            branches.insert(*filter, (other, Vec::new()));
                        }
                    },
                }
            }
            walks.extend(branches.into_values().map(|(thread, others)| Walk {
                thread,
                others,
                depth,
            }));
            let Some(&filter) = next else { break };
            acts.push((thread, Act::Install(filter)));
            others = along;
            depth += 1;
        }
    }
    acts
}

#[cfg(test)]
mod tests {
    use Act::{Install, Make};

    use super::*;

    /// What each thread has in the end: its filters, as objects.
    fn carry_out(chains: &[Vec<u32>]) -> BTreeMap<u32, Vec<usize>> {
        let mut objects = 0;
        let mut threads = BTreeMap::from([(0, Vec::new())]);
        for (by, act) in order(chains) {
            match act {
                Make(thread) => {
                    let inherited = threads[&by].clone();
                    assert_eq!(threads.insert(thread, inherited), None, "made twice");
                }
                Install(_) => {
                    threads.get_mut(&by).unwrap().push(objects);
                    objects += 1;
                }
            }
        }
        for (thread, chain) in chains.iter().enumerate() {
            assert_eq!(threads[&(thread as u32)].len(), chain.len(), "{thread}");
        }
        threads
    }

    #[test]
    fn without_filters_the_first_makes_all() {
        let acts = order(&[vec![], vec![], vec![]]);
        assert_eq!(acts, [(0, Make(1)), (0, Make(2))]);
    }

    #[test]
    fn what_all_have_is_one_object() {
        let acts = order(&[vec![4, 5], vec![4, 5], vec![4, 5]]);
        assert_eq!(
            acts,
            [(0, Install(4)), (0, Install(5)), (0, Make(1)), (0, Make(2))]
        );
    }

    #[test]
    fn each_begins_where_the_others_leave_it() {
        // 0: a; 1: nothing; 2: a b; 3: a b c; 4: a b; 5: d, 6: a b c
        let chains = [
            vec![1],
            vec![],
            vec![1, 2],
            vec![1, 2, 3],
            vec![1, 2],
            vec![4],
            vec![1, 2, 3],
        ];
        let threads = carry_out(&chains);
        let object = |thread: u32, at: usize| threads[&thread][at];
        assert!([2, 3, 4, 6].iter().all(|&t| object(t, 0) == object(0, 0)));
        assert!([3, 4, 6].iter().all(|&t| object(t, 1) == object(2, 1)));
        assert_eq!(object(3, 2), object(6, 2));
        assert_ne!(object(5, 0), object(0, 0));
    }

    #[test]
    fn the_same_filter_twice_is_two_objects() {
        let threads = carry_out(&[vec![7, 7], vec![7]]);
        assert_ne!(threads[&0][0], threads[&0][1]);
        assert_eq!(threads[&0][0], threads[&1][0]);
    }
}
