// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The list of what a dump or restore changes outside of the tree.

use crust_model::Result;
use crust_model::effect::Effect;
use crust_model::refusal::{Refusals, Subject};

/// The effects that have been prepared, in this order. Dropping the list aborts them in reverse.
#[derive(Default)]
pub struct Effects<'a>(Vec<&'a mut dyn Effect>);

impl<'a> Effects<'a> {
    /// Prepares an effect, and adds it to the list.
    ///
    /// # Errors
    ///
    /// Fails as the effect does, which is not in the list then.
    pub fn prepare(&mut self, effect: &'a mut dyn Effect) -> Result<()> {
        effect.prepare()?;
        self.0.push(effect);
        Ok(())
    }

    /// Commits the effects in the order in which they were prepared. By now nothing can be undone,
    /// so one that fails does not keep the others from theirs, and is a loss that is reported: the
    /// dump or restore itself has succeeded.
    pub fn commit(mut self, losses: &mut Refusals) {
        for effect in self.0.drain(..) {
            if let Err(error) = effect.commit() {
                losses.lose(
                    Subject::Image,
                    "incomplete",
                    effect.name(),
                    format!("it could not be completed: {error}"),
                    "complete it by hand",
                );
            }
        }
    }
}

impl Drop for Effects<'_> {
    fn drop(&mut self) {
        for effect in self.0.drain(..).rev() {
            tracing::debug!(effect = effect.name(), "undo an effect");
            effect.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use crust_model::Error;
    use nix::errno::Errno;

    use super::*;

    /// An effect that notes what is done with it, and fails at the operations in `fails`.
    struct Noted<'n> {
        name: &'static str,
        fails: &'static [&'static str],
        notes: &'n RefCell<Vec<String>>,
    }

    impl Noted<'_> {
        fn note(&self, operation: &str) -> Result<()> {
            let note = format!("{operation} {}", self.name);
            let failed = self.fails.contains(&operation);
            self.notes.borrow_mut().push(note.clone());
            match failed {
                true => Err(Error::system(note, Errno::EIO)),
                false => Ok(()),
            }
        }
    }

    impl Effect for Noted<'_> {
        fn name(&self) -> String {
            self.name.into()
        }

        fn prepare(&mut self) -> Result<()> {
            self.note("prepare")
        }

        fn commit(&mut self) -> Result<()> {
            self.note("commit")
        }

        fn abort(&mut self) {
            self.note("abort").unwrap();
        }
    }

    /// Prepares three effects, of which each fails at certain operations, and commits them if all
    /// are prepared. Returns what failed, and what was done.
    fn run(fails: [&'static [&'static str]; 3], commit: bool) -> (Vec<String>, Vec<String>) {
        let notes = RefCell::default();
        let mut number = fails.into_iter();
        let mut all = ["a", "b", "c"].map(|name| Noted {
            name,
            fails: number.next().unwrap(),
            notes: &notes,
        });
        let mut effects = Effects::default();
        let prepared = all.iter_mut().try_for_each(|one| effects.prepare(one));
        let mut losses = Refusals::default();
        match &prepared {
            Ok(()) if commit => effects.commit(&mut losses),
            _ => drop(effects),
        }
        let failed = prepared.err().map(|error| error.to_string());
        let lost = losses.into_vec().into_iter().map(|loss| loss.why);
        (failed.into_iter().chain(lost).collect(), notes.into_inner())
    }

    #[test]
    fn they_are_prepared_and_committed_in_order() {
        let (failed, notes) = run([&[]; 3], true);
        assert_eq!(failed, [""; 0]);
        let order = [
            "prepare a",
            "prepare b",
            "prepare c",
            "commit a",
            "commit b",
            "commit c",
        ];
        assert_eq!(notes, order);
    }

    #[test]
    fn they_are_aborted_in_reverse() {
        let (failed, notes) = run([&[]; 3], false);
        assert_eq!(failed, [""; 0]);
        let order = [
            "prepare a",
            "prepare b",
            "prepare c",
            "abort c",
            "abort b",
            "abort a",
        ];
        assert_eq!(notes, order);
    }

    #[test]
    fn exactly_what_was_prepared_is_aborted() {
        let (failed, notes) = run([&[], &["prepare"], &[]], true);
        assert_eq!(failed, [format!("prepare b: {}", Errno::EIO)]);
        assert_eq!(notes, ["prepare a", "prepare b", "abort a"]);
    }

    #[test]
    fn one_that_cannot_be_committed_does_not_keep_the_others() {
        let (failed, notes) = run([&["commit"], &[], &["commit"]], true);
        let lost = ["a", "c"].map(|name| {
            let error = Errno::EIO;
            format!("it could not be completed: commit {name}: {error}")
        });
        assert_eq!(failed, lost);
        let order = [
            "prepare a",
            "prepare b",
            "prepare c",
            "commit a",
            "commit b",
            "commit c",
        ];
        assert_eq!(notes, order, "none is aborted");
    }
}
