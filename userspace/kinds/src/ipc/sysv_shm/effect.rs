// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What happens to the segments of a tree apart from its processes: a dump that kills these removes
//! them, and a restore that fails removes those that it has made.

use crust_model::Result;
use crust_model::effect::Effect;
use crust_model::image::Image;
use crust_sys::shm;
use nix::errno::Errno;

use super::Segment;

/// The effect of a dump that kills: once the processes are gone, their segments are removed. They
/// are in the image now.
pub struct RemovedSegments<'a>(&'a Image);

impl<'a> RemovedSegments<'a> {
    /// Returns the effect for the segments in an image.
    #[must_use]
    pub fn of(image: &'a Image) -> Self {
        Self(image)
    }
}

impl Effect for RemovedSegments<'_> {
    fn name(&self) -> String {
        "removal of System V segments".into()
    }

    /// Does nothing: as long as there are processes, they keep their segments.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    fn commit(&mut self) -> Result<()> {
        for (_, segment) in self.0.all::<Segment>() {
            let id = segment.id;
            // A segment marked for removal has gone with the last process.
            match shm::remove(id) {
                Ok(()) | Err(Errno::EINVAL | Errno::EIDRM) => {}
                // The image is complete, and the program dead: this is no reason to fail.
                Err(errno) => tracing::warn!(id, %errno, "a System V segment stays behind"),
            }
        }
        Ok(())
    }

    fn abort(&mut self) {}
}

/// The effect of a restore: the segments that its processes make exist without them too, and are
/// removed if it fails.
///
/// It must be prepared before anything is restored, while none of the segments exists.
pub struct RecreatedSegments<'a>(&'a Image);

impl<'a> RecreatedSegments<'a> {
    /// Returns the effect for the segments in an image.
    #[must_use]
    pub fn of(image: &'a Image) -> Self {
        Self(image)
    }
}

impl Effect for RecreatedSegments<'_> {
    fn name(&self) -> String {
        "creation of System V segments".into()
    }

    /// Does nothing: it is the processes that make the segments.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Keeps the segments.
    fn commit(&mut self) -> Result<()> {
        Ok(())
    }

    fn abort(&mut self) {
        for (_, segment) in self.0.all::<Segment>() {
            // Another process may have taken the id first.
            let is_ours =
                |found: shm::Segment| found.creator == segment.maker && found.attached == 0;
            if shm::stat(segment.id).is_ok_and(is_ours) {
                let _ = shm::remove(segment.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    /// Makes a segment that no process attaches, and returns its state.
    fn made() -> Segment {
        let maker = Command::new("ipcmk")
            .args(["--shmem", "4096"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("ipcmk of util-linux");
        let pid = maker.id() as i32;
        let said = String::from_utf8(maker.wait_with_output().unwrap().stdout).unwrap();
        Segment {
            id: said.rsplit(' ').next().unwrap().trim().parse().unwrap(),
            maker: pid,
            ..Segment::default()
        }
    }

    fn image<const N: usize>(segments: [Segment; N]) -> Image {
        let mut image = Image::default();
        for segment in segments {
            image.add((0, segment.id as u32), segment).unwrap();
        }
        image
    }

    fn exists(id: i32) -> bool {
        shm::stat(id).is_ok()
    }

    #[test]
    fn a_dump_removes_them_when_it_is_committed() {
        let segment = made();
        let id = segment.id;
        let image = image([segment]);
        let mut effect = RemovedSegments::of(&image);
        effect.prepare().unwrap();
        effect.abort();
        assert!(exists(id));
        effect.prepare().unwrap();
        assert!(exists(id));
        effect.commit().unwrap();
        assert!(!exists(id));
    }

    #[test]
    fn a_restore_that_fails_removes_those_that_it_has_made() {
        let (segment, mut other) = (made(), made());
        other.maker += 1;
        let (id, of_another) = (segment.id, other.id);
        let image = image([segment, other]);
        let mut effect = RecreatedSegments::of(&image);
        effect.prepare().unwrap();
        effect.commit().unwrap();
        assert!(exists(id));
        effect.abort();
        assert!(!exists(id));
        assert!(exists(of_another));
        shm::remove(of_another).unwrap();
    }
}
