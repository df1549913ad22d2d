// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The origin of an image: when and where it was made. It is for users only; nothing depends on it.
//!
//! ```text
//!  64   time            u64       seconds since 1970; 0 in an image that does not tell its origin
//!  72   kernel          [u8; 64]  release of the kernel, padded with zeros
//! 136   host            [u8; 64]  name of the machine, padded with zeros
//! 200   checksum        u32       CRC-32 of bytes 64..200
//! ```
//!
//! These bytes of the header's page were zeros before, and readers did not look at them, so older
//! images can be read, and older readers can read these images.

/// The offset in the image.
pub(crate) const OFFSET: u64 = 64;
/// The number of bytes.
pub(crate) const LENGTH: usize = 8 + 2 * NAME + 4;
/// The maximum length of a name in bytes (`__NEW_UTS_LEN` in `linux/utsname.h`).
const NAME: usize = 64;
const SUMMED: usize = LENGTH - 4;

/// When and where an image was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The time of the dump, in seconds since 1970.
    pub time: u64,
    /// The release of the kernel.
    pub kernel: String,
    /// The name of the machine.
    pub host: String,
}

impl Origin {
    pub(crate) fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&self.time.to_le_bytes());
        for (at, name) in [(8, &self.kernel), (8 + NAME, &self.host)] {
            let name = &name.as_bytes()[..name.len().min(NAME)];
            bytes[at..at + name.len()].copy_from_slice(name);
        }
        let checksum = crc32fast::hash(&bytes[..SUMMED]);
        bytes[SUMMED..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Decodes the origin; `None` if the image does not tell it, or it is damaged: nothing depends
    /// on it.
    pub(crate) fn decode(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (summed, checksum) = bytes.split_at(SUMMED);
        if summed.iter().all(|byte| *byte == 0)
            || crc32fast::hash(summed).to_le_bytes() != *checksum
        {
            return None;
        }
        let (time, names) = summed.split_at(8);
        let (kernel, host) = names.split_at(NAME);
        let text = |name: &[u8]| {
            let name = String::from_utf8_lossy(name);
            name.trim_end_matches('\0').to_owned()
        };
        let mut seconds = [0; 8];
        seconds.copy_from_slice(time);
        Some(Self {
            time: u64::from_le_bytes(seconds),
            kernel: text(kernel),
            host: text(host),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back() {
        let origin = Origin {
            time: 1_800_000_000,
            kernel: "6.18.44".into(),
            host: "h".repeat(NAME),
        };
        let bytes = origin.encode();
        assert_eq!(Origin::decode(&bytes), Some(origin));
    }

    #[test]
    fn an_older_image_and_a_damaged_one_have_none() {
        assert_eq!(Origin::decode(&[0; LENGTH]), None);
        let mut bytes = Origin::default().encode();
        bytes[100] = 1;
        assert_eq!(Origin::decode(&bytes), None);
    }
}
