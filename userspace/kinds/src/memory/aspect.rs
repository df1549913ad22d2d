// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The aspects of an address space besides its mappings, and the settings that mappings of any kind can have: one file
//! each.
//!
//! Most programs have none of them. Those that keep a program from changing its memory come last in the table.

use crust_hooks::Hooks;
use crust_model::Result;
use crust_model::image::Image;
use crust_proc::smaps::Vma;

use super::MemoryCapture;
use super::layout::Layout;
use crate::kind::{Kind, Kinds, Role, Source};

/// The state of an address space when an aspect of it is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Nothing of the program is mapped.
    Empty,
    /// Everything is mapped, and nothing has been read into it.
    Mapped,
    /// The contents are there, protected and locked as they should be, but not sealed.
    Filled,
}

/// A property that an address space has once.
pub trait SpaceAspect: Kind {
    /// Reads the aspect; returns `None` if there is nothing to carry over.
    ///
    /// # Errors
    ///
    /// Returns what broke; what cannot be carried over goes to [`MemoryCapture::refusals`] instead.
    fn capture(
        vmas: &[Vma],
        found: &mut MemoryCapture<'_>,
        hooks: &dyn Hooks,
    ) -> Result<Option<Self>>;

    /// Adds the steps that restore the aspect at this moment. It is called at each moment.
    fn plan(&self, moment: Moment, layout: &mut Layout<'_>);
}

/// The source of the aspects of an address space.
#[derive(Clone, Copy, Debug)]
pub struct OfSpace;

/// How an aspect of an address space is captured and planned.
struct SpaceRole {
    capture: fn(&[Vma], &mut MemoryCapture<'_>, &dyn Hooks, &mut Image) -> Result<()>,
    plan: fn(&Image, Moment, &mut Layout<'_>),
}

impl<K: SpaceAspect> Source<K> for OfSpace {
    const ROLE: Role = &SpaceRole {
        capture: |vmas, found, hooks, image| match K::capture(vmas, found, hooks)? {
            Some(aspect) => image.add(found.process.id, aspect),
            None => Ok(()),
        },
        plan: |image, moment, layout| {
            if let Some(aspect) = image.get::<K>(layout.task.process) {
                aspect.plan(moment, layout);
            }
        },
    };
}

/// Captures all aspects of an address space.
///
/// # Errors
///
/// Returns what broke.
pub(super) fn capture(
    kinds: Kinds,
    vmas: &[Vma],
    found: &mut MemoryCapture<'_>,
    hooks: &dyn Hooks,
    image: &mut Image,
) -> Result<()> {
    let mut all = kinds.of_role::<SpaceRole>();
    all.try_for_each(|(_, role)| (role.capture)(vmas, found, hooks, image))
}

/// Plans all aspects of the address space that is laid out.
pub(super) fn plan(kinds: Kinds, image: &Image, moment: Moment, layout: &mut Layout<'_>) {
    for (_, role) in kinds.of_role::<SpaceRole>() {
        (role.plan)(image, moment, layout);
    }
}
