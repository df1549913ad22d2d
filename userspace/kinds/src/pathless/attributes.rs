// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Extended attributes of a file: user attributes, access control lists, and capabilities. Labels of security modules
//! are not carried over: the kernel assigns them to the recreated file.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::AsFd;

use crust_model::plan::{Call, Data};
use crust_sys::xattr;
use nix::errno::Errno;

/// The name and value of an attribute.
pub type Attribute = (Vec<u8>, Vec<u8>);

const CARRIED: &[&[u8]] = &[
    b"user.",
    b"trusted.",
    b"system.posix_acl_access",
    b"security.capability",
];

/// Returns the attributes of a file.
///
/// # Errors
///
/// If they cannot be read.
pub fn of(file: &File) -> nix::Result<Vec<Attribute>> {
    let names = xattr::names(file.as_fd())?;
    let mut all = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        let bytes = name.to_bytes();
        if CARRIED.iter().any(|start| bytes.starts_with(start)) {
            match xattr::value(file.as_fd(), name) {
                Err(Errno::ENODATA) => {}
                value => all.push((bytes.to_vec(), value?)),
            }
        }
    }
    Ok(all)
}

/// Returns the calls that set the attributes of the file at descriptor `number`, after removing the access control list
/// that it inherited from its directory.
pub fn set<'a>(
    title: &'a str,
    number: i32,
    attributes: &'a [Attribute],
) -> impl Iterator<Item = Call> + 'a {
    let remove = Call::new(
        format!("{title}: no access control list but its own"),
        libc::SYS_fremovexattr,
        [
            number.into(),
            Data::string("system.posix_acl_access").into(),
        ],
    );
    // The file hardly ever has one, and many file systems do not support them.
    std::iter::once(remove.may_fail()).chain(attributes.iter().map(move |(name, value)| {
        let shown = String::from_utf8_lossy(name);
        Call::new(
            format!("{title}: set {shown}"),
            libc::SYS_fsetxattr,
            [
                number.into(),
                Data::string(name).into(),
                Data::new(value.as_slice()).into(),
                (value.len() as u64).into(),
                0.into(),
            ],
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_taken_away_before_attributes_are_set() {
        let attributes = [(b"user.a".to_vec(), b"1".to_vec())];
        let calls: Vec<_> = set("file", 7, &attributes).map(|call| call.label).collect();
        assert_eq!(
            calls,
            [
                "file: no access control list but its own",
                "file: set user.a"
            ]
        );
    }

    #[test]
    fn a_file_without_attributes_has_none() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(of(&file), Ok(Vec::new()));
    }
}
