// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A memfd: a file in memory that never had a path (`memfd_create`), of normal or huge pages.
//!
//! It is an inode of the kernel's internal tmpfs or hugetlbfs mount, like shared anonymous memory; its name, which is
//! informational only, appears in the links that lead to it. Seals are read from any descriptor of it, and set when
//! everything is mapped and filled, because some seals forbid just that.

use std::ffi::CStr;
use std::os::fd::AsFd;

use crust_model::object::{Extent, Object, State};
use crust_model::plan::{Call, Data};
use crust_model::refusal::{Refusals, Subject};
use crust_model::{Error, Result};
use crust_sys::fcntl;
use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};

use super::{Pathless, PathlessFile, PathlessKind, Seen, Unreachable};
use crate::capture::DumpOptions;
use crate::kind::Kind;
use crate::pathless::OfPathless;

const PREFIX: &[u8] = b"/memfd:";

const F_SEAL_EXEC: u32 = libc::F_SEAL_EXEC as u32;

/// A memfd.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memfd {
    /// The state common to all pathless files.
    pub pathless: Pathless,
    /// The name that was given to `memfd_create`.
    pub name: Vec<u8>,
    /// The seals, `F_SEAL_*`.
    pub seals: u32,
}

impl State for Memfd {
    const TAG: u16 = 0x0222;
    const NAME: &'static str = "memfd";
    const SUPPORT: &'static str = "Contents (holes stay holes), size, name, seals, owner, mode, \
        times; also of huge pages. Opened, mapped, or run. One that a program outside has too is refused.";

    fn describe(&self) -> String {
        format!(
            "file {} without a path, {}: {}",
            self.pathless.id,
            self.title(),
            self.pathless.contents.describe()
        )
    }

    fn extents(&self) -> Vec<Extent> {
        vec![self.pathless.contents.extent()]
    }
}

impl Memfd {
    fn flags(&self) -> u32 {
        // Always say whether the memfd is executable, and use MFD_NOEXEC_SEAL where it fits: a kernel may insist on it
        // (vm.memfd_noexec).
        let mut flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
        flags |= if self.seals & F_SEAL_EXEC != 0 && self.pathless.mode & 0o111 == 0 {
            libc::MFD_NOEXEC_SEAL
        } else {
            libc::MFD_EXEC
        };
        flags | huge_flags(self.pathless.contents.huge)
    }
}

fn huge_flags(huge: u8) -> u32 {
    match huge {
        0 => 0,
        huge => libc::MFD_HUGETLB | u32::from(huge) << libc::MFD_HUGE_SHIFT,
    }
}

impl PathlessFile for Memfd {
    fn pathless(&self) -> &Pathless {
        &self.pathless
    }

    fn pathless_mut(&mut self) -> &mut Pathless {
        &mut self.pathless
    }

    fn title(&self) -> String {
        format!("memfd {}", String::from_utf8_lossy(&self.name))
    }

    fn make(&self) -> Call {
        Call::new(
            format!("{}: make", self.title()),
            libc::SYS_memfd_create,
            [
                Data::string(&self.name).into(),
                u64::from(self.flags()).into(),
            ],
        )
    }

    fn finish(&self, number: i32) -> Vec<Call> {
        if self.seals == 0 {
            return Vec::new();
        }
        let call = Call::new(
            format!("{}: seal", self.title()),
            libc::SYS_fcntl,
            [
                number.into(),
                libc::F_ADD_SEALS.into(),
                u64::from(self.seals).into(),
            ],
        );
        vec![call]
    }

    fn is_open_when_made(&self) -> bool {
        true
    }

    fn is_constant(&self) -> bool {
        let all = (libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE) as u32;
        self.seals & all == all
    }

    fn into_object(self: Box<Self>) -> Box<dyn Object> {
        self
    }

    fn check(&self, refusals: &mut Refusals) {
        // The memfd is closed at once.
        let flags = MFdFlags::from_bits_retain(self.flags());
        let Err(errno) = memfd_create(c"crust", flags) else {
            return;
        };
        let (why, remedy) = match errno {
            Errno::EACCES => (
                "this machine allows no executable memfds (vm.memfd_noexec)",
                "allow them (sysctl vm.memfd_noexec=1)",
            ),
            Errno::EINVAL | Errno::ENODEV if self.pathless.contents.huge != 0 => (
                "this kernel has no huge pages of that size",
                "restore it on a kernel that has them",
            ),
            errno => (
                errno.desc(),
                "make sure that memfds can be made (memfd_create)",
            ),
        };
        refusals.block(Subject::Image, "memfd-missing", self.title(), why, remedy);
    }
}

impl Kind for Memfd {
    type Source = OfPathless;
}

impl PathlessKind for Memfd {
    const IS_OF_KERNEL: bool = true;

    fn matches(seen: &Seen) -> bool {
        seen.path.starts_with(PREFIX)
    }

    fn capture(
        seen: &Seen,
        pathless: Pathless,
        _options: &DumpOptions,
    ) -> Result<std::result::Result<Self, Unreachable>> {
        let name = seen.path.strip_prefix(PREFIX).unwrap_or_default();
        let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
        let seals = fcntl::seals(seen.file.as_fd())
            .map_err(|errno| Error::system("F_GET_SEALS of a memfd", errno))?;
        Ok(Ok(Self {
            pathless,
            name: name.to_vec(),
            seals,
        }))
    }
}

/// Returns the device of the internal mount in which the kernel keeps memfds with pages of such a size, and other
/// shared memory.
///
/// # Errors
///
/// If there are no such pages.
pub fn device(huge: u8) -> nix::Result<u64> {
    const NAME: &CStr = c"crust";
    let flags = libc::MFD_CLOEXEC | libc::MFD_NOEXEC_SEAL | huge_flags(huge);
    let file = match memfd_create(NAME, MFdFlags::from_bits_retain(flags)) {
        // Kernels before 6.3 do not know the flag.
        Err(Errno::EINVAL) => memfd_create(
            NAME,
            MFdFlags::from_bits_retain(flags & !libc::MFD_NOEXEC_SEAL),
        ),
        result => result,
    }?;
    Ok(fstat(&file)?.st_dev)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_seals_and_mode_say() {
        let memfd = |seals, mode, huge| {
            let mut memfd = Memfd {
                seals,
                ..Memfd::default()
            };
            memfd.pathless.mode = mode;
            memfd.pathless.contents.huge = huge;
            memfd.flags() & !(libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
        };
        assert_eq!(memfd(0, 0o777, 0), libc::MFD_EXEC);
        assert_eq!(memfd(F_SEAL_EXEC, 0o666, 0), libc::MFD_NOEXEC_SEAL);
        // It was made executable and sealed after its creation: the seal comes at the end.
        assert_eq!(memfd(F_SEAL_EXEC, 0o755, 0), libc::MFD_EXEC);
        assert_eq!(memfd(0, 0o600, 0), libc::MFD_EXEC);
        assert_eq!(
            memfd(0, 0o777, 21),
            libc::MFD_EXEC | libc::MFD_HUGETLB | libc::MFD_HUGE_2MB
        );
    }

    #[test]
    fn all_memfds_are_in_one_mount() {
        assert_eq!(device(0), device(0));
    }
}
