// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Tracks which numbers of a descriptor table are taken, so that the numbers the kernel will return
//! are known beforehand.

use std::collections::BTreeSet;

/// The numbers in a descriptor table that is being filled.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    taken: BTreeSet<i32>,
    /// All numbers below this one are taken.
    lowest: i32,
    first_limbo: i32,
    next_limbo: i32,
}

impl Numbers {
    /// Creates an empty table whose temporary numbers start at `first_limbo`.
    pub fn new(first_limbo: i32) -> Self {
        Self {
            taken: BTreeSet::new(),
            lowest: 0,
            first_limbo,
            next_limbo: first_limbo,
        }
    }

    /// Returns the number that the next descriptor gets.
    pub fn lowest(&mut self) -> i32 {
        while self.taken.contains(&self.lowest) {
            self.lowest += 1;
        }
        self.lowest
    }

    /// Takes and returns the number that the next descriptor gets.
    pub fn take_lowest(&mut self) -> i32 {
        let lowest = self.lowest();
        self.occupy(lowest);
        lowest
    }

    /// Marks a number as taken.
    pub fn occupy(&mut self, number: i32) {
        self.taken.insert(number);
    }

    /// Marks a number as free.
    pub fn release(&mut self, number: i32) {
        self.taken.remove(&number);
        self.lowest = self.lowest.min(number);
    }

    /// Returns a number above all that the image uses; each is given out once.
    pub fn temporary_fd(&mut self) -> i32 {
        self.next_limbo += 1;
        self.next_limbo - 1
    }

    /// Returns whether any temporary number was given out.
    pub fn has_limbo(&self) -> bool {
        self.next_limbo > self.first_limbo
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_next() {
        let mut numbers = Numbers::new(100);
        numbers.occupy(1);
        assert_eq!(numbers.take_lowest(), 0);
        assert_eq!(numbers.take_lowest(), 2);
        numbers.release(1);
        assert_eq!(numbers.take_lowest(), 1);
        assert_eq!(numbers.lowest(), 3);
    }

    #[test]
    fn limbo_is_above_all() {
        let mut numbers = Numbers::new(100);
        assert!(!numbers.has_limbo());
        assert_eq!((numbers.temporary_fd(), numbers.temporary_fd()), (100, 101));
        assert!(numbers.has_limbo());
    }
}
