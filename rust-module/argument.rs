// SPDX-License-Identifier: GPL-2.0

//! The structure of a request, whose size is its version.

#![forbid(unsafe_code)]

use kernel::{
    checkpoint::Request,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader, //
    },
};

/// The argument of an ioctl: a structure in the caller's memory, as large as the caller knows it.
pub(crate) struct Argument {
    at: UserPtr,
    size: usize,
}

impl Argument {
    pub(crate) fn new(at: usize, size: usize) -> Self {
        Self {
            at: UserPtr::from_addr(at),
            size,
        }
    }

    /// Has `f` do what the structure says.
    pub(crate) fn obey<T: Request>(self, f: fn(&T) -> Result) -> Result {
        let request = read(UserSlice::new(self.at, self.size).reader())?;
        f(&request)
    }

    /// Has `f` answer what the structure asks, as far as the caller knows the answer.
    pub(crate) fn answer<T: Request>(self, f: fn(&mut T) -> Result) -> Result {
        let (reader, mut writer) = UserSlice::new(self.at, self.size).reader_writer();
        let mut request: KBox<T> = read(reader)?;
        f(&mut request)?;
        let bytes = request.as_bytes();
        // Beyond our structure the caller has zeros, and keeps them.
        writer.write_slice(&bytes[..bytes.len().min(self.size)])
    }
}

/// As `copy_struct_from_user()`: what the caller's structure lacks is zero, and what it has more
/// must be.
fn read<T: Request>(mut user: UserSliceReader) -> Result<KBox<T>> {
    if user.len() < T::FIRST {
        return Err(EINVAL);
    }
    let mut value = KBox::<T>::zeroed(GFP_KERNEL)?;
    let bytes = value.as_bytes_mut();
    let known = bytes.len().min(user.len());
    user.read_slice(&mut bytes[..known])?;
    while !user.is_empty() {
        let mut rest = [0; 64];
        let rest = &mut rest[..user.len().min(64)];
        user.read_slice(rest)?;
        if rest.iter().any(|&byte| byte != 0) {
            return Err(E2BIG);
        }
    }
    Ok(value)
}
