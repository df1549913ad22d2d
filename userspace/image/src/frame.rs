// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A frame: a record as it is stored in the image.
//!
//! ```text
//!  0   tag       u16    little-endian, as all numbers
//!  2   version   u16
//!  4   owner     u32
//!  8   part      u32
//! 12   length    u32    of the body
//! 16   checksum  u32    CRC-32 of bytes 0..16 and the body
//! 20   body
//! ```
//!
//! The length lets a reader skip a tag that it does not know. The checksum includes the head, so
//! that a damaged owner or tag is found as surely as a damaged body.

use crate::{Error, MAX_STATE, Record, Result};

const HEAD: usize = 20;
const SUMMED: usize = 16;

/// Appends the frame of a record.
pub(crate) fn append(frames: &mut Vec<u8>, record: &Record) -> Result<()> {
    let length = record.body.len();
    let too_large = Error::TooLarge {
        what: "the state of one object",
        size: length as u64,
        limit: MAX_STATE as u64,
    };
    let length = match u32::try_from(length) {
        Ok(short) if length <= MAX_STATE => short,
        _ => return Err(too_large),
    };
    let mut head = [0; SUMMED];
    head[0..2].copy_from_slice(&record.tag.to_le_bytes());
    head[2..4].copy_from_slice(&record.version.to_le_bytes());
    head[4..8].copy_from_slice(&record.owner.to_le_bytes());
    head[8..12].copy_from_slice(&record.part.to_le_bytes());
    head[12..16].copy_from_slice(&length.to_le_bytes());
    frames.extend(head);
    frames.extend(checksum(&head, &record.body).to_le_bytes());
    frames.extend(&record.body);
    Ok(())
}

/// Takes the frame at the beginning of `frames`; returns the record, and the bytes after it.
///
/// The error describes the damage.
pub(crate) fn take(frames: &[u8]) -> Result<(Record, &[u8]), String> {
    let Some((head, rest)) = frames.split_first_chunk::<HEAD>() else {
        return Err("a frame is cut off".into());
    };
    let half = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let length = word(12) as usize;
    // A malicious length could make us allocate, or read past the end.
    if length > MAX_STATE {
        return Err(format!("a frame says that it has {length} bytes"));
    }
    if length > rest.len() {
        return Err("the body of a frame is cut off".into());
    }
    let (body, rest) = rest.split_at(length);
    if checksum(&head[..SUMMED], body) != word(16) {
        return Err("the checksum of a frame is wrong".into());
    }
    let record = Record {
        tag: half(0),
        version: half(2),
        owner: word(4),
        part: word(8),
        body: body.to_vec(),
    };
    Ok((record, rest))
}

fn checksum(head: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_oversize_length_is_refused_before_it_is_used() {
        let mut frame = vec![0; HEAD];
        frame[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(take(&frame).unwrap_err().contains("4294967295"));
    }
}
