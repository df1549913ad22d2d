// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Mappings that cannot be carried over, and why.

use crust_proc::smaps::{Vma, vm_flag as t};

use super::{uring_memory, vdso};

/// The reason and the remedy of a refusal.
pub type Why = (String, &'static str);

/// Returns why a mapping cannot be carried over, if it cannot.
#[must_use]
pub fn why(vma: &Vma) -> Option<Why> {
    if let Some(letters) = &vma.unknown {
        return Some((
            format!(
                "memory with a property (`{letters}` in VmFlags) that this crust does not know"
            ),
            "use a newer crust, which knows this kernel",
        ));
    }
    if vdso::is_part(vma) {
        let keyed = "a vDSO with a protection key (pkey_mprotect)".into();
        return (vma.key != 0).then_some((
            keyed,
            "have the program leave its vDSO without a protection key",
        ));
    }
    if uring_memory::is_ring(vma) {
        // Any objection is raised for the ring itself.
        return None;
    }
    by_name(&vma.name).or_else(|| by_trait(vma))
}

fn by_trait(vma: &Vma) -> Option<Why> {
    let (why, remedy) = if vma.is_any(t::UFFD) {
        (
            "memory whose faults a userfaultfd handles, and its handler may be in the midst of one",
            "dump it when the handler has unregistered the memory",
        )
    } else if vma.is_any(t::SYNC) {
        (
            "persistent memory (MAP_SYNC), which is not carried over yet",
            "have the program unmap it before the dump, or map it without MAP_SYNC",
        )
    } else if vma.is_any(t::IO | t::PFN_MAP | t::MIXED_MAP) {
        (
            "memory of a device, which a restore could not give back",
            "have the program close the device before the dump",
        )
    } else {
        return None;
    };
    Some((why.into(), remedy))
}

fn by_name(name: &[u8]) -> Option<Why> {
    let starts = |prefix: &str| name.starts_with(prefix.as_bytes());
    let (why, remedy) = if starts("/secretmem") {
        (
            "secret memory (memfd_secret), which not even the kernel can read",
            "have the program unmap it before the dump",
        )
    } else if starts("/[aio]") {
        (
            "the ring of an asynchronous I/O context (io_setup)",
            "have the program destroy the context before the dump",
        )
    } else if starts("anon_inode:") || starts("socket:") {
        (
            "the ring of a file that crust cannot restore",
            "have the program close it before the dump",
        )
    } else if starts("[uprobes]") {
        (
            "instructions of a uprobe, displaced by the kernel",
            "remove the probe before the dump",
        )
    } else {
        return None;
    };
    Some((why.into(), remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_memory_is_refused_and_plain_is_not() {
        let named = |name: &str, vm_flags| Vma {
            name: name.into(),
            vm_flags,
            ..Vma::default()
        };
        for vma in [
            named("/secretmem (deleted)", t::MAY_SHARE),
            named("/[aio] (deleted)", t::MAY_SHARE),
            named("/dev/dri/card0", t::PFN_MAP),
            named("anon_inode:[perf_event]", t::MAY_SHARE),
            named("/mnt/pmem/x", t::SYNC | t::MAY_SHARE),
            named("", t::UFFD_WP),
            Vma {
                key: 1,
                ..named("[vdso]", t::EXEC)
            },
            Vma {
                unknown: Some("zz".into()),
                ..Vma::default()
            },
        ] {
            assert!(why(&vma).is_some(), "{vma:?}");
        }
        for vma in [
            named("[heap]", t::READ),
            named("[vvar]", t::PFN_MAP | t::IO),
            named("/usr/lib/libc.so.6", t::EXEC),
            named("/memfd:x (deleted)", t::MAY_SHARE),
            named("anon_inode:[io_uring]", t::MAY_SHARE | t::MIXED_MAP),
            named("/SYSV00001234 (deleted)", t::MAY_SHARE),
            named("/dev/zero (deleted)", t::MAY_SHARE),
            named("[anon:x]", t::LOCKED),
            named("/anon_hugepage (deleted)", t::HUGETLB),
        ] {
            assert_eq!(why(&vma), None, "{vma:?}");
        }
    }
}
