// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The context of the question whether this machine has what an image needs.

use crust_hooks::KernelFeatures;
use crust_model::image::Image;
use crust_model::object::State;
use crust_model::refusal::Refusals;

use crate::plan_context::RestoreOptions;

/// What is looked at, and what has been found so far.
pub struct Conflicts<'a> {
    /// The objects that are to be restored.
    pub image: &'a Image,
    /// The options of the restore.
    pub options: &'a RestoreOptions,
    /// The features of this kernel.
    pub features: KernelFeatures,
    /// What is missing on this machine, or in the way.
    pub refusals: Refusals,
}

impl<'a> Conflicts<'a> {
    /// Returns the context of an image for which nothing has been found so far.
    #[must_use]
    pub fn new(image: &'a Image, options: &'a RestoreOptions, features: KernelFeatures) -> Self {
        Self {
            image,
            options,
            features,
            refusals: Refusals::default(),
        }
    }

    /// Looks at each object of a kind.
    pub fn each<T: State>(&mut self, look: impl Fn(&T, &mut Refusals)) {
        for (_, object) in self.image.all() {
            look(object, &mut self.refusals);
        }
    }
}
