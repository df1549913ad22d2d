// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The order in which threads are created and filters are installed, so that a filter that threads have in common is
//! one object: a thread inherits the filters that its creator has at that moment, and filters can only be added.
//!
//! The filter chains of the threads form a tree by their common prefixes. The first thread follows its own chain. At
//! each branch off that chain it creates one of the threads of the branch, which follows *its* chain and creates the
//! others.

use std::collections::BTreeMap;

use crust_model::index;

/// An action of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Create the thread of this number.
    Make(u32),
    /// Install this filter.
    Install(u32),
}

/// A thread at some point of its chain, with the threads that it has to get created: their chains are the same up to
/// that point.
struct Walk {
    thread: u32,
    others: Vec<u32>,
    depth: usize,
}

/// Returns which thread does what, in order, given the chains of all threads, of which the first already exists.
#[must_use]
pub fn order(chains: &[Vec<u32>]) -> Vec<(u32, Act)> {
    let chain = |thread: u32| &chains[thread as usize];
    let mut acts = Vec::new();
    let mut walks = vec![Walk {
        thread: 0,
        others: (1..index::number(chains.len())).collect(),
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

    /// Returns the filters that each thread has in the end, as objects.
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
