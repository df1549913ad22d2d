// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The mappings of a process as `/proc/PID/smaps` lists them.
//!
//! `smaps` and not `maps`, because only `smaps` has the flags of a mapping (`VmFlags`) and its
//! protection key; the counters in it make the kernel walk the page tables, which takes about 30 ms
//! for a GiB of 4 KiB pages. The `PROCMAP_QUERY` request is cheaper, but only returns protections.

use std::ops::Range;

use crust_image::PAGE_SIZE;
use crust_model::{Error, Result};

/// The flags of a mapping, as bits. These numbers are stored in images.
pub mod vm_flag {
    macro_rules! bits {
        ($($name:ident = $bit:literal, $code:literal, $doc:literal;)*) => {
            $(#[doc = $doc] pub const $name: u64 = 1 << $bit;)*
            /// The two-letter code in `VmFlags` of each bit (`fs/proc/task_mmu.c:show_smap_vma_flags`).
            pub(super) const CODES: &[([u8; 2], u64)] = &[$((*$code, $name)),*];
        };
    }
    bits! {
        READ = 0, b"rd", "May be read.";
        WRITE = 1, b"wr", "May be written.";
        EXEC = 2, b"ex", "May be executed.";
        SHARED = 3, b"sh", "Written pages go to the object.";
        MAY_READ = 4, b"mr", "`mprotect` may make it readable.";
        MAY_WRITE = 5, b"mw", "`mprotect` may make it writable: a shared file was opened for writing.";
        MAY_EXEC = 6, b"me", "`mprotect` may make it executable.";
        MAY_SHARE = 7, b"ms", "Was mapped with `MAP_SHARED`.";
        GROWS_DOWN = 8, b"gd", "Grows below its start when it is touched there.";
        PFN_MAP = 9, b"pf", "Has pages of a device.";
        MAYBE_GUARD = 10, b"gu", "May have guard pages.";
        LOCKED = 11, b"lo", "`mlock`.";
        IO = 12, b"io", "Is I/O memory.";
        SEQUENTIAL = 13, b"sr", "`MADV_SEQUENTIAL`.";
        RANDOM = 14, b"rr", "`MADV_RANDOM`.";
        DONT_FORK = 15, b"dc", "`MADV_DONTFORK`.";
        DONT_EXPAND = 16, b"de", "`mremap` may not enlarge it.";
        LOCK_ON_FAULT = 17, b"lf", "`mlock2(MLOCK_ONFAULT)`.";
        ACCOUNTED = 18, b"ac", "Counts for the overcommit limit.";
        NO_RESERVE = 19, b"nr", "`MAP_NORESERVE`.";
        HUGETLB = 20, b"ht", "Has pages of hugetlbfs.";
        SYNC = 21, b"sf", "`MAP_SYNC`.";
        ARCH_1 = 22, b"ar", "On x86: its cache attributes are tracked.";
        WIPE_ON_FORK = 23, b"wf", "`MADV_WIPEONFORK`.";
        DONT_DUMP = 24, b"dd", "`MADV_DONTDUMP`.";
        SOFT_DIRTY = 25, b"sd", "Is new since soft-dirty bits were cleared.";
        MIXED_MAP = 26, b"mm", "Has pages of a device and others.";
        HUGE_PAGE = 27, b"hg", "`MADV_HUGEPAGE`.";
        NO_HUGE_PAGE = 28, b"nh", "`MADV_NOHUGEPAGE`.";
        MERGEABLE = 29, b"mg", "`MADV_MERGEABLE`.";
        UFFD_MISSING = 30, b"um", "userfaultfd is told of missing pages.";
        UFFD_WP = 31, b"uw", "userfaultfd is told of writes.";
        UFFD_MINOR = 32, b"ui", "userfaultfd is told of minor faults.";
        UFFD_RWP = 33, b"ur", "userfaultfd is told of accesses.";
        SHADOW_STACK = 34, b"ss", "A shadow stack.";
        DROPPABLE = 35, b"dp", "`MAP_DROPPABLE`.";
        SEALED = 36, b"sl", "`mseal`.";
    }

    /// All modes of userfaultfd.
    pub const UFFD: u64 = UFFD_MISSING | UFFD_WP | UFFD_MINOR | UFFD_RWP;
}

/// One line of `/proc/PID/maps`, with its flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vma {
    /// The range of addresses.
    pub range: Range<u64>,
    /// Bits of [`vm_flag`].
    pub vm_flags: u64,
    /// The first code in `VmFlags` that crust does not know.
    pub unknown: Option<String>,
    /// The offset in the file, in bytes.
    pub offset: u64,
    /// The device of the file, as of `makedev`; on some file systems it differs from that of
    /// `stat`.
    pub device: u64,
    /// The inode of the file; 0 if the mapping is anonymous.
    pub inode: u64,
    /// The last column: a path, `[heap]`, or nothing.
    pub name: Vec<u8>,
    /// The protection key.
    pub key: u8,
    /// The binary logarithm of the page size, for huge pages of hugetlbfs; else 0.
    pub huge: u8,
}

impl Vma {
    /// Returns whether all of these bits are set.
    #[must_use]
    pub fn is(&self, vm_flags: u64) -> bool {
        self.vm_flags & vm_flags == vm_flags
    }

    /// Returns whether any of these bits is set.
    #[must_use]
    pub fn is_any(&self, vm_flags: u64) -> bool {
        self.vm_flags & vm_flags != 0
    }

    /// Returns the length in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Returns the name that the program gave to anonymous memory (`PR_SET_VMA_ANON_NAME`): the
    /// text between `prefix` and the closing bracket.
    #[must_use]
    pub fn given_name(&self, prefix: &[u8]) -> Option<Vec<u8>> {
        let name = self.name.strip_prefix(prefix)?.strip_suffix(b"]")?;
        Some(name.to_vec())
    }

    /// Returns the name of the mapping in `/proc/PID/map_files`.
    #[must_use]
    pub fn entry(&self) -> String {
        format!("{:x}-{:x}", self.range.start, self.range.end)
    }

    /// Returns a title of the mapping for users.
    #[must_use]
    pub fn title(&self) -> String {
        let name = String::from_utf8_lossy(&self.name);
        format!("memory {} {name}", self.entry()).trim_end().into()
    }
}

/// Parses the text of `/proc/PID/smaps`.
///
/// # Errors
///
/// [`Error::Malformed`] names the line.
pub fn parse(smaps: &[u8]) -> Result<Vec<Vma>> {
    let mut vmas: Vec<Vma> = Vec::new();
    for line in smaps.split(|byte| *byte == b'\n') {
        let malformed = || {
            let line = String::from_utf8_lossy(line).into_owned();
            Error::malformed("/proc/PID/smaps", line)
        };
        // The names of the values begin with a capital, whereas addresses have lower-case digits.
        if matches!(line.first(), Some(b'0'..=b'9' | b'a'..=b'f')) {
            vmas.push(parse_header(line).ok_or_else(malformed)?);
        } else if let Some(codes) = line.strip_prefix(b"VmFlags:") {
            let vma = vmas.last_mut().ok_or_else(malformed)?;
            parse_codes(codes, vma);
        } else if let Some(size) = line.strip_prefix(b"KernelPageSize:") {
            let vma = vmas.last_mut().ok_or_else(malformed)?;
            vma.huge = parse_page_size(size).ok_or_else(malformed)?;
        } else if let Some(key) = line.strip_prefix(b"ProtectionKey:") {
            let vma = vmas.last_mut().ok_or_else(malformed)?;
            vma.key = std::str::from_utf8(key)
                .ok()
                .and_then(|key| key.trim().parse().ok())
                .ok_or_else(malformed)?;
        }
    }
    Ok(vmas)
}

/// Parses `7f00-7f10 rw-p 00001000 fe:00 1234      /path with spaces`.
fn parse_header(line: &[u8]) -> Option<Vma> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut next = || std::str::from_utf8(fields.next()?).ok();
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();

    let (start, end) = next()?.split_once('-')?;
    let range = hex(start)?..hex(end)?;
    // The flags contain the same information, and more.
    next()?;
    let offset = hex(next()?)?;
    let (major, minor) = next()?.split_once(':')?;
    let device = nix::sys::stat::makedev(hex(major)?, hex(minor)?);
    let inode = next()?.parse().ok()?;
    let name = fields.next().unwrap_or_default().trim_ascii_start();
    (range.start < range.end).then(|| Vma {
        range,
        offset,
        device,
        inode,
        name: unescape(name),
        ..Vma::default()
    })
}

/// Parses `    2048 kB`: returns 21, and 0 for pages of the usual size.
fn parse_page_size(size: &[u8]) -> Option<u8> {
    let size = std::str::from_utf8(size).ok()?.trim();
    let kib: u64 = size.strip_suffix(" kB")?.parse().ok()?;
    let bytes = kib
        .checked_mul(1024)
        .filter(|bytes| bytes.is_power_of_two())?;
    match bytes {
        PAGE_SIZE => Some(0),
        bytes => u8::try_from(bytes.trailing_zeros()).ok(),
    }
}

fn parse_codes(codes: &[u8], vma: &mut Vma) {
    for code in codes
        .split(|byte| *byte == b' ')
        .filter(|code| !code.is_empty())
    {
        match vm_flag::CODES.iter().find(|(known, _)| known == code) {
            Some((_, bit)) => vma.vm_flags |= bit,
            None => {
                vma.unknown
                    .get_or_insert_with(|| String::from_utf8_lossy(code).into_owned());
            }
        }
    }
}

/// Undoes the escaping by `seq_file_path`, which writes a line feed in a path as `\012`, and
/// escapes nothing else.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            plain.push(b'\n');
            rest = after;
        } else {
            plain.push(first);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMAPS: &[u8] = b"\
00400000-00401000 r-xp 00002000 fe:00 1234                               /opt/a b\\012c
Size:                  4 kB
KernelPageSize:        4 kB
ProtectionKey:         0
VmFlags: rd ex mr mw me sl 
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]
Size:                132 kB
ProtectionKey:         3
VmFlags: rd wr mr mw me gd ac zz 
7ffd00100000-7ffd00101000 ---p 00000000 00:00 0 
KernelPageSize:     2048 kB
VmFlags: mr mw me 
";

    #[test]
    fn reads_headers_and_flags() {
        let vmas = parse(SMAPS).unwrap();
        assert_eq!(vmas.len(), 3);
        assert_eq!(vmas[0].range, 0x40_0000..0x40_1000);
        assert_eq!(vmas[0].offset, 0x2000);
        assert_eq!(vmas[0].device, nix::sys::stat::makedev(0xfe, 0));
        assert_eq!(vmas[0].inode, 1234);
        assert_eq!(vmas[0].name, b"/opt/a b\nc");
        assert!(vmas[0].is(vm_flag::SEALED | vm_flag::EXEC));
        assert!(!vmas[0].is_any(vm_flag::WRITE));
        assert_eq!(vmas[1].title(), "memory 7ffd00000000-7ffd00021000 [stack]");
        assert_eq!(vmas[1].unknown.as_deref(), Some("zz"));
        assert_eq!(vmas[1].key, 3);
        assert_eq!(vmas[2].title(), "memory 7ffd00100000-7ffd00101000");
        assert_eq!((vmas[0].huge, vmas[2].huge), (0, 21));
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "7f-zz rw-p 0 0:0 0",
            "VmFlags: rd",
            "20-10 r--p 0 0:0 0",
            "10-20 r--p 0 0:0 0\nKernelPageSize: 5 kB",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    /// Parses the output of this machine's kernel.
    #[test]
    fn reads_the_mappings_of_the_test() {
        let vmas = parse(&std::fs::read("/proc/self/smaps").unwrap()).unwrap();
        let here = reads_the_mappings_of_the_test as fn() as usize as u64;
        let own = vmas.iter().find(|vma| vma.range.contains(&here)).unwrap();
        assert!(own.is(vm_flag::EXEC));
        assert!(vmas.iter().all(|vma| vma.unknown.is_none()));
        assert!(vmas.is_sorted_by_key(|vma| vma.range.start));
    }
}
