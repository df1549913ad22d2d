// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The space in the file system of an image, for the message that there is none left.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;

use crate::request::Place;

/// A file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// The directory at which it is mounted.
    pub mount_point: PathBuf,
    /// The number of bytes that are free.
    pub free: u64,
}

/// Returns the file system in which an image is written; `None` if it cannot be asked.
#[must_use]
pub fn space(image: &Place) -> Option<Space> {
    let directory = match image {
        Place::File(path) => match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        },
        Place::Stream => crust_image::scratch_directory(),
    };
    let directory = directory.canonicalize().ok()?;
    let asked = statvfs(&directory).ok()?;
    Some(Space {
        mount_point: mount_point(&directory)?,
        free: asked.blocks_available() * asked.fragment_size(),
    })
}

/// Returns the directory at which the file system of a directory is mounted: the topmost one on the
/// way to the root that is on the same device.
fn mount_point(directory: &Path) -> Option<PathBuf> {
    let device = directory.metadata().ok()?.dev();
    let same = |above: &&Path| above.metadata().is_ok_and(|found| found.dev() == device);
    let top = directory.ancestors().take_while(same).last()?;
    Some(top.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_proc_has_no_room() {
        let found = space(&Place::File("/proc/self/x".into())).unwrap();
        assert_eq!(found.mount_point, Path::new("/proc"));
        assert_eq!(found.free, 0);
    }
}
