// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Runs the same work for many items, on all processors. This is not for ptrace, which belongs to
//! one thread.

use std::thread;

/// Returns the number of processors available to crust.
pub fn processors() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Returns the results of `work` for each item, in the order of the items. A thread takes at least
/// `share` of them, or it would not be worth starting.
pub fn map<T: Sync, R: Send>(items: &[T], share: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = processors().min(items.len() / share).max(1);
    let mut shares = items.chunks(items.len().div_ceil(threads).max(1));
    let mine = shares.next().unwrap_or_default();
    let work = |share: &[T]| share.iter().map(&work).collect::<Vec<R>>();
    thread::scope(|scope| {
        let others: Vec<_> = shares
            .map(|share| scope.spawn(move || work(share)))
            .collect();
        let mut results = work(mine);
        for other in others {
            // A panic is a bug: let it be seen as such.
            let theirs = other
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            results.extend(theirs);
        }
        results
    })
}

/// Returns the results of both functions, each run on a processor of its own if there are two.
pub fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> (A, B) {
    if processors() == 1 {
        return (first(), second());
    }
    thread::scope(|scope| {
        let first = scope.spawn(first);
        let second = second();
        let first = first
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (first, second)
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_are_done() {
        assert_eq!(super::both(|| 1, || "two"), (1, "two"));
    }

    #[test]
    fn the_order_stays() {
        for count in [0, 1, 63, 64, 1000, 1001] {
            let items: Vec<usize> = (0..count).collect();
            let twice: Vec<usize> = items.iter().map(|item| item * 2).collect();
            assert_eq!(super::map(&items, 64, |item| item * 2), twice);
        }
    }
}
