// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The image of the vDSO.

/// Returns the length of a vDSO's ELF image, given its start: the end of the last of its segments
/// and of its section headers. The rest of the last page is zeros, and unused.
#[must_use]
pub fn image_length(image: &[u8]) -> Option<u64> {
    const PT_LOAD: u64 = 1;
    let number = |at: usize, size: usize| {
        let bytes = image.get(at..at.checked_add(size)?)?;
        let mut word = [0; 8];
        word[..size].copy_from_slice(bytes);
        Some(u64::from_le_bytes(word))
    };
    if image.get(..5)? != b"\x7fELF\x02" {
        return None;
    }
    // struct elf64_hdr: e_phoff, e_shoff, e_phentsize, e_phnum, e_shentsize, e_shnum.
    let (segments, sections) = (number(32, 8)?, number(40, 8)?);
    let mut end = sections.checked_add(number(58, 2)? * number(60, 2)?)?;
    for index in 0..number(56, 2)? {
        // struct elf64_phdr: p_type, p_flags, p_offset, p_vaddr, p_paddr, p_filesz.
        let segment = usize::try_from(segments.checked_add(index * number(54, 2)?)?).ok()?;
        if number(segment, 4)? == PT_LOAD {
            let offset = number(segment.checked_add(8)?, 8)?;
            end = end.max(offset.checked_add(number(segment.checked_add(32)?, 8)?)?);
        }
    }
    end.checked_next_multiple_of(16)
}
