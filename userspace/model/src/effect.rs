// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Effects: what a dump or restore changes outside of the tree, where no guard of a task undoes it.

use crate::Result;

/// A change outside of the tree, which is made with the tree or not at all.
///
/// It is prepared when its moment has come, while everything can still be undone, and then either
/// committed or aborted, once.
pub trait Effect {
    /// Returns the name of the effect, for the log.
    fn name(&self) -> String;

    /// Makes as much of the change as can be undone.
    ///
    /// # Errors
    ///
    /// Fails if the change cannot be made. Then none of it has been made.
    fn prepare(&mut self) -> Result<()>;

    /// Makes the rest of the change, when nothing can be undone any more: the tree of a dump is
    /// dead, or that of a restore runs.
    ///
    /// # Errors
    ///
    /// Fails if the rest cannot be made, which is reported as a loss.
    fn commit(&mut self) -> Result<()>;

    /// Undoes what [`prepare`](Self::prepare) has done. The tree of a restore is gone by then, and
    /// that of a dump is unharmed.
    fn abort(&mut self);
}
