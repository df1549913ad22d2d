// SPDX-License-Identifier: Apache-2.0 OR MIT

//! System V shared memory segments, inspected from outside (`shmctl(2)`).

use std::mem::MaybeUninit;

use nix::errno::Errno;

use crate::Result;

/// A bit of [`Segment::mode`]: the segment is destroyed when it is no longer attached.
pub const DEST: u32 = 0o1000;
/// A bit of [`Segment::mode`]: the segment is not swapped out.
pub const LOCKED: u32 = 0o2000;

/// The kernel's description of a segment (`struct shmid_ds`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The key by which others find it; `IPC_PRIVATE` if it has none.
    pub key: i32,
    /// The user id of the owner.
    pub uid: u32,
    /// The group id of the owner.
    pub gid: u32,
    /// The user id of the creator.
    pub creator_uid: u32,
    /// The group id of the creator.
    pub creator_gid: u32,
    /// The permissions, and [`DEST`] and [`LOCKED`].
    pub mode: u32,
    /// The size in bytes.
    pub size: u64,
    /// The number of mappings of the segment.
    pub attached: u64,
    /// The process id of the creator.
    pub creator: i32,
}

/// Returns the description of a segment.
///
/// # Errors
///
/// `EINVAL` or `EIDRM` if there is no segment with this id.
pub fn stat(id: i32) -> Result<Segment> {
    let mut answer = MaybeUninit::<libc::shmid_ds>::zeroed();
    // SAFETY: the command writes one `struct shmid_ds`.
    let result = unsafe { libc::shmctl(id, libc::IPC_STAT, answer.as_mut_ptr()) };
    Errno::result(result)?;
    // SAFETY: all zeros is a valid `struct shmid_ds`, and the kernel has filled it.
    let answer = unsafe { answer.assume_init() };
    Ok(Segment {
        key: answer.shm_perm.__key,
        uid: answer.shm_perm.uid,
        gid: answer.shm_perm.gid,
        creator_uid: answer.shm_perm.cuid,
        creator_gid: answer.shm_perm.cgid,
        mode: answer.shm_perm.mode.into(),
        size: answer.shm_segsz as u64,
        attached: answer.shm_nattch,
        creator: answer.shm_cpid,
    })
}

/// Returns the id of the segment with a key.
///
/// # Errors
///
/// `ENOENT` if there is none.
pub fn find(key: i32) -> Result<i32> {
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::shmget(key, 0, 0) })
}

/// Removes a segment, as soon as it is no longer attached.
pub fn remove(id: i32) -> Result<()> {
    // SAFETY: the command takes no buffer.
    let result = unsafe { libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut()) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_of_our_own() {
        // SAFETY: the call takes numbers only.
        let id = unsafe { libc::shmget(libc::IPC_PRIVATE, 5000, libc::IPC_CREAT | 0o640) };
        assert!(id >= 0);
        let segment = stat(id).unwrap();
        assert_eq!((segment.size, segment.mode), (5000, 0o640));
        assert_eq!((segment.key, segment.attached), (libc::IPC_PRIVATE, 0));
        assert_eq!(segment.creator, std::process::id() as i32);
        remove(id).unwrap();
        assert!(matches!(stat(id), Err(Errno::EINVAL | Errno::EIDRM)));
    }
}
