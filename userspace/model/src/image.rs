// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The typed image: all objects of a tree, decoded once, and found by kind and owner.
//!
//! A capture fills it, a restore decodes it from the records of a file. Whoever plans from it relies
//! on what is checked here: no object is there twice, and all contents that objects refer to exist
//! ([`Image::check_extents`]).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::object::{Extent, Object, Owner, State};
use crate::{Error, Result};

/// An object, with its owner.
pub struct Owned {
    /// To what it belongs.
    pub owner: Owner,
    /// The object.
    pub object: Box<dyn Object>,
}

impl Owned {
    /// Says to what an object belongs.
    #[must_use]
    pub fn new(owner: impl Into<Owner>, state: impl State) -> Self {
        Self {
            owner: owner.into(),
            object: Box::new(state),
        }
    }
}

/// All objects of a tree.
#[derive(Default)]
pub struct Image(BTreeMap<u16, BTreeMap<Owner, Box<dyn Object>>>);

impl Image {
    /// Adds an object.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] if its owner has one of its kind already.
    pub fn add(&mut self, owner: impl Into<Owner>, state: impl State) -> Result<()> {
        self.insert(Owned::new(owner, state))
    }

    /// Adds an object of any kind.
    ///
    /// # Errors
    ///
    /// The same as [`add`](Self::add).
    pub fn insert(&mut self, Owned { owner, object }: Owned) -> Result<()> {
        let row = object.row();
        match self.0.entry(row.tag).or_default().entry(owner) {
            Entry::Vacant(place) => {
                place.insert(object);
                Ok(())
            }
            Entry::Occupied(_) => Err(Error::malformed(title(row.name, owner), "is there twice")),
        }
    }

    /// Returns the object of a kind that an owner has.
    #[must_use]
    pub fn get<T: State>(&self, owner: impl Into<Owner>) -> Option<&T> {
        self.object(T::TAG, owner)?.as_any().downcast_ref()
    }

    /// Returns the object with a tag that an owner has.
    #[must_use]
    pub fn object(&self, tag: u16, owner: impl Into<Owner>) -> Option<&dyn Object> {
        let object = self.0.get(&tag)?.get(&owner.into())?;
        Some(&**object)
    }

    /// Returns all objects of a kind, sorted by owner.
    pub fn all<T: State>(&self) -> impl Iterator<Item = (Owner, &T)> {
        self.of_tag(T::TAG)
            .filter_map(|(owner, object)| Some((owner, object.as_any().downcast_ref()?)))
    }

    /// Returns all objects with a tag, sorted by owner.
    pub fn of_tag(&self, tag: u16) -> impl Iterator<Item = (Owner, &dyn Object)> {
        let objects = self.0.get(&tag).into_iter().flatten();
        objects.map(|(&owner, object)| (owner, &**object))
    }

    /// Returns all objects, sorted by tag and owner: the order in which they are written.
    pub fn iter(&self) -> impl Iterator<Item = (Owner, &dyn Object)> {
        let objects = self.0.values().flatten();
        objects.map(|(&owner, object)| (owner, &**object))
    }

    /// Returns the number of objects.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Returns whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Checks that all contents that objects refer to exist; `has` tells whether the file has them.
    /// Otherwise a corrupt number could make a restore allocate memory without bound.
    ///
    /// # Errors
    ///
    /// [`Error::Malformed`] with the kind and owner of the first object whose contents are missing.
    pub fn check_extents(&self, has: impl Fn(Extent) -> bool) -> Result<()> {
        for (owner, object) in self.iter() {
            let mut extents = object.extents().into_iter();
            if let Some(Extent { offset, bytes }) =
                extents.find(|&extent| extent.bytes != 0 && !has(extent))
            {
                return Err(Error::malformed(
                    title(object.row().name, owner),
                    format!(
                        "the image does not have the {bytes} bytes at {offset:#x} that it refers to"
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn title(name: &str, owner: Owner) -> String {
    format!("{name} of object {owner}")
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::plan::ProcessId;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Lamp(u64);

    impl State for Lamp {
        const TAG: u16 = 0x7f01;
        const NAME: &'static str = "lamp";
        const SUPPORT: &'static str = "Lamps.";

        fn describe(&self) -> String {
            format!("{} W", self.0)
        }

        fn extents(&self) -> Vec<Extent> {
            vec![Extent {
                offset: 0x1000,
                bytes: self.0,
            }]
        }
    }

    #[test]
    fn objects_are_found_by_owner_and_in_order() {
        let mut image = Image::default();
        image.add(ProcessId(3), Lamp(60)).unwrap();
        image.add(ProcessId(1), Lamp(40)).unwrap();
        assert_eq!(image.get::<Lamp>(ProcessId(3)), Some(&Lamp(60)));
        assert_eq!(image.get::<Lamp>(ProcessId(2)), None);
        let all: Vec<u64> = image.all::<Lamp>().map(|(_, lamp)| lamp.0).collect();
        assert_eq!((all, image.len()), (vec![40, 60], 2));
    }

    #[test]
    fn an_owner_has_one_object_of_a_kind() {
        let mut image = Image::default();
        image.add(ProcessId(3), Lamp(60)).unwrap();
        let error = image.add(ProcessId(3), Lamp(40)).unwrap_err();
        assert_eq!(error.to_string(), "lamp of object 3.0: is there twice");
    }

    #[test]
    fn contents_that_the_file_does_not_have_are_found() {
        let mut image = Image::default();
        image.add(ProcessId(3), Lamp(0x2000)).unwrap();
        let file = |end: u64| move |extent: Extent| extent.offset + extent.bytes <= end;
        image.check_extents(file(0x3000)).unwrap();
        let error = image.check_extents(file(0x2fff)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "lamp of object 3.0: the image does not have the 8192 bytes at 0x1000 that it refers to"
        );
    }
}
