// SPDX-License-Identifier: GPL-2.0

//! The structure of a request, whose size is its version.

use kernel::{
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader, //
    },
    uapi, //
};

/// A structure of `linux/ckpt.h` that a request takes.
///
/// # Safety
///
/// It consists of integers, without padding: any bytes make a valid value, and any value consists
/// of initialised bytes.
pub(crate) unsafe trait Request: Zeroable {
    /// The size of its first version; a caller's is not smaller.
    const FIRST: usize;

    /// Its bytes.
    fn as_bytes(&self) -> &[u8] {
        // SAFETY: It consists of initialised bytes, by the safety requirement of the trait.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of_val(self)) }
    }

    /// Its bytes, to be written.
    fn as_bytes_mut(&mut self) -> &mut [u8] {
        let size = size_of_val(self);

        // SAFETY: It consists of initialised bytes, and any are valid, by the safety requirement of
        // the trait.
        unsafe { core::slice::from_raw_parts_mut(core::ptr::from_mut(self).cast(), size) }
    }
}

macro_rules! requests {
    ($($(#[$condition:meta])? $name:ident: $first:ident),* $(,)?) => {$(
        $(#[$condition])?
        // SAFETY: `linux/ckpt.h` has fixed-width integers only, and names all padding.
        unsafe impl Request for uapi::$name {
            const FIRST: usize = uapi::$first as usize;
        }
    )*};
}

requests! {
    #[cfg(CONFIG_CKPT_SET_PID)]
    ckpt_set_pid: CKPT_SET_PID_SIZE_VER0,
    ckpt_set_ids: CKPT_SET_IDS_SIZE_VER0,
    ckpt_set_start: CKPT_SET_START_SIZE_VER0,
    ckpt_usage: CKPT_USAGE_SIZE_VER0,
    ckpt_sigactions: CKPT_SIGACTIONS_SIZE_VER0,
    ckpt_thread: CKPT_THREAD_SIZE_VER0,
    ckpt_process: CKPT_PROCESS_SIZE_VER0,
    ckpt_tcp: CKPT_TCP_SIZE_VER0,
    ckpt_messages: CKPT_MESSAGES_SIZE_VER0,
}

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
