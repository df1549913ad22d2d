// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The list of what a dump or restore changes outside of the tree.

use crust_model::Result;
use crust_model::effect::Effect;

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

    /// Commits the effects in the order in which they were prepared.
    ///
    /// # Errors
    ///
    /// Returns the first failure. It does not keep the later effects from being committed, because
    /// by now nothing can be undone: all that is left to do has to be done.
    pub fn commit(mut self) -> Result<()> {
        let mut result = Ok(());
        for effect in self.0.drain(..) {
            let committed = effect.commit();
            match (&result, committed) {
                (Ok(()), committed) => result = committed,
                (Err(_), Ok(())) => {}
                (Err(_), Err(error)) => {
                    tracing::warn!(effect = effect.name(), %error, "another effect failed");
                }
            }
        }
        result
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
    /// are prepared. Returns the result, and what was done.
    fn run(fails: [&'static [&'static str]; 3], commit: bool) -> (Result<()>, Vec<String>) {
        let notes = RefCell::default();
        let mut number = fails.into_iter();
        let mut all = ["a", "b", "c"].map(|name| Noted {
            name,
            fails: number.next().unwrap(),
            notes: &notes,
        });
        let mut effects = Effects::default();
        let prepared = all.iter_mut().try_for_each(|one| effects.prepare(one));
        let result = match prepared {
            Ok(()) if commit => effects.commit(),
            result => {
                drop(effects);
                result
            }
        };
        (result, notes.into_inner())
    }

    #[test]
    fn they_are_prepared_and_committed_in_order() {
        let (result, notes) = run([&[]; 3], true);
        result.unwrap();
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
        let (result, notes) = run([&[]; 3], false);
        result.unwrap();
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
        let (result, notes) = run([&[], &["prepare"], &[]], true);
        assert_eq!(
            result.unwrap_err().to_string(),
            format!("prepare b: {}", Errno::EIO)
        );
        assert_eq!(notes, ["prepare a", "prepare b", "abort a"]);
    }

    #[test]
    fn one_that_cannot_be_committed_does_not_keep_the_others() {
        let (result, notes) = run([&["commit"], &["commit"], &[]], true);
        assert_eq!(
            result.unwrap_err().to_string(),
            format!("commit a: {}", Errno::EIO)
        );
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
