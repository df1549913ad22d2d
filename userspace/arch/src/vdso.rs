// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The image of the vDSO.

use object::LittleEndian;
use object::elf::{FileHeader64, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};

/// Returns the length of a vDSO's ELF image, given its start: the end of the last of its segments
/// and of its section headers. The rest of the last page is zeros, and unused.
#[must_use]
pub fn image_length(image: &[u8]) -> Option<u64> {
    let header = FileHeader64::<LittleEndian>::parse(image).ok()?;
    let endian = header.endian().ok()?;
    let sections = u64::from(header.e_shentsize(endian)) * u64::from(header.e_shnum(endian));
    let mut end = header.e_shoff(endian).checked_add(sections)?;
    for segment in header.program_headers(endian, image).ok()? {
        if segment.p_type(endian) == PT_LOAD {
            let (offset, length) = segment.file_range(endian);
            end = end.max(offset.checked_add(length)?);
        }
    }
    end.checked_next_multiple_of(16)
}
