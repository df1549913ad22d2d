// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Notes that kinds keep for themselves while a tree is captured or planned: one value of each type, for the whole
//! tree.
//!
//! That way a context names no kind, and a kind that has to remember something does not touch the file of another.

use std::any::{Any, TypeId};
use std::collections::HashMap;

/// One value of each type that has been asked for.
#[derive(Default)]
pub struct Notes(HashMap<TypeId, Box<dyn Any>>);

impl Notes {
    /// Returns the value of type `N`, which starts out as its default.
    pub fn of<N: Any + Default>(&mut self) -> &mut N {
        let note = self
            .0
            .entry(TypeId::of::<N>())
            .or_insert_with(|| Box::<N>::default());
        note.downcast_mut()
            .expect("a value is kept under its own type")
    }

    /// Returns the value of type `N`, if it has been asked for before.
    pub fn get<N: Any>(&self) -> Option<&N> {
        self.0.get(&TypeId::of::<N>())?.downcast_ref()
    }

    /// Takes the value of type `N`, leaving its default.
    pub fn take<N: Any + Default>(&mut self) -> N {
        std::mem::take(self.of())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_of_each_type() {
        let mut notes = Notes::default();
        *notes.of::<u32>() += 2;
        *notes.of::<u32>() += 3;
        notes.of::<String>().push('a');
        assert_eq!(
            (*notes.of::<u32>(), notes.take::<String>()),
            (5, "a".into())
        );
        assert_eq!(*notes.of::<String>(), "");
    }
}
