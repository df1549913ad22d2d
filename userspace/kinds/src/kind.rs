// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What all kinds have in common, and the table of them.
//!
//! The objects of a [`Kind`] are captured from a [`Source`]: a process, a thread, a mapping, an open
//! file ... Each source has a trait of its own that its kinds implement. Whoever captures or plans
//! what comes from a source asks the table for the [roles](Kinds::of_role) of its kinds, so there is
//! one table, and a line of it names nothing but the type.

use std::any::Any;

use crust_model::Result;
use crust_model::effect::Effect;
use crust_model::image::Image;
use crust_model::object::{Row, State};

use crate::capture::Capture;
use crate::conflicts::Conflicts;
use crate::plan_context::PlanCx;

/// A kind of kernel object.
pub trait Kind: State {
    /// From what the objects of this kind are captured.
    type Source: Source<Self>;

    /// Completes the capture, when all that comes from processes, threads and mappings is known.
    ///
    /// # Errors
    ///
    /// If something breaks; what cannot be carried over goes to [`Capture::refusals`] instead.
    fn finish(kinds: Kinds, cx: &mut Capture<'_>) -> Result<()> {
        <Self::Source as Source<Self>>::finish(kinds, cx)
    }

    /// Notes what this machine lacks for the objects of this kind in an image, or what is in the
    /// way. Only queries the machine, and changes nothing.
    ///
    /// # Errors
    ///
    /// If the image is inconsistent, or the machine cannot be queried.
    fn conflicts(kinds: Kinds, cx: &mut Conflicts<'_>) -> Result<()> {
        <Self::Source as Source<Self>>::conflicts(kinds, cx)
    }

    /// Returns what happens to the objects of this kind outside of the tree, by the end of an
    /// operation.
    fn effect(_end: End, _image: &Image) -> Option<Box<dyn Effect + '_>> {
        None
    }
}

/// The end of an operation, which changes more than the tree itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A dump kills the tree.
    Kill,
    /// A restore lets the tree run.
    Release,
}

/// What the objects of kind `K` are captured from.
pub trait Source<K: ?Sized> {
    /// What has to be known of the kind; each source has a type of its own for that.
    const ROLE: Role;

    /// Captures all objects of the kind, unless another kind captures all that comes from the source.
    ///
    /// # Errors
    ///
    /// If something breaks; what cannot be carried over goes to [`Capture::refusals`] instead.
    fn capture(_kinds: Kinds, _cx: &mut Capture<'_>) -> Result<()> {
        Ok(())
    }

    /// Plans all objects of the kind, unless another kind plans all that comes from the source.
    ///
    /// # Errors
    ///
    /// If the image is inconsistent; what prevents the restore goes to [`PlanCx::refusals`] instead.
    fn plan(_kinds: Kinds, _cx: &mut PlanCx<'_>) -> Result<()> {
        Ok(())
    }

    /// What [`Kind::finish`] is for the kinds that do not say otherwise.
    ///
    /// # Errors
    ///
    /// The same as there.
    fn finish(_kinds: Kinds, _cx: &mut Capture<'_>) -> Result<()> {
        Ok(())
    }

    /// What [`Kind::conflicts`] is for the kinds that do not say otherwise.
    ///
    /// # Errors
    ///
    /// The same as there.
    fn conflicts(_kinds: Kinds, _cx: &mut Conflicts<'_>) -> Result<()> {
        Ok(())
    }
}

/// The source of what a tree has as a whole, of the kinds that capture and plan what comes from
/// another source, and of those that come with other objects.
#[derive(Clone, Copy, Debug)]
pub struct OfTree;

/// A kind that is captured from the tree.
pub trait TreeKind: Kind {
    /// Captures all objects of the kind, and of the source for which it answers.
    ///
    /// # Errors
    ///
    /// If something breaks; what cannot be carried over goes to [`Capture::refusals`] instead.
    fn capture(_kinds: Kinds, _cx: &mut Capture<'_>) -> Result<()> {
        Ok(())
    }

    /// Plans all objects of the kind, and of the source for which it answers.
    ///
    /// # Errors
    ///
    /// If the image is inconsistent; what prevents the restore goes to [`PlanCx::refusals`] instead.
    fn plan(_kinds: Kinds, _cx: &mut PlanCx<'_>) -> Result<()> {
        Ok(())
    }
}

impl<K: TreeKind> Source<K> for OfTree {
    const ROLE: Role = &();

    fn capture(kinds: Kinds, cx: &mut Capture<'_>) -> Result<()> {
        K::capture(kinds, cx)
    }

    fn plan(kinds: Kinds, cx: &mut PlanCx<'_>) -> Result<()> {
        K::plan(kinds, cx)
    }
}

/// What is known of a kind for its source, without its type.
pub type Role = &'static (dyn Any + Send + Sync);

/// A line of the table: a kind without its type.
pub struct Entry {
    /// The name, tag and support text.
    pub row: Row,
    /// What is known of it for its source.
    role: Role,
    /// [`Source::capture`].
    pub capture: fn(Kinds, &mut Capture<'_>) -> Result<()>,
    /// [`Kind::finish`].
    pub finish: fn(Kinds, &mut Capture<'_>) -> Result<()>,
    /// [`Source::plan`].
    pub plan: fn(Kinds, &mut PlanCx<'_>) -> Result<()>,
    /// [`Kind::conflicts`].
    pub conflicts: fn(Kinds, &mut Conflicts<'_>) -> Result<()>,
    /// [`Kind::effect`].
    pub effect: fn(End, &Image) -> Option<Box<dyn Effect + '_>>,
}

impl Entry {
    /// Makes the line of a kind.
    #[must_use]
    pub const fn of<K: Kind>() -> Self {
        Self {
            row: Row::of::<K>(),
            role: <K::Source as Source<K>>::ROLE,
            capture: <K::Source as Source<K>>::capture,
            finish: K::finish,
            plan: <K::Source as Source<K>>::plan,
            conflicts: K::conflicts,
            effect: K::effect,
        }
    }
}

/// The table of kinds.
#[derive(Clone, Copy)]
pub struct Kinds(pub &'static [Entry]);

impl Kinds {
    /// Returns the kind with a tag; `None` if a newer crust wrote the record.
    #[must_use]
    pub fn get(self, tag: u16) -> Option<&'static Entry> {
        self.0.iter().find(|entry| entry.row.tag == tag)
    }

    /// Returns the kinds whose role is an `R`, in the order of the table, each with its tag.
    pub fn of_role<R: Any>(self) -> impl Iterator<Item = (u16, &'static R)> {
        self.0
            .iter()
            .filter_map(|entry| Some((entry.row.tag, entry.role.downcast_ref()?)))
    }
}
