// SPDX-License-Identifier: GPL-2.0

//! The device: one line for each request.

#![forbid(unsafe_code)]

#[cfg(CONFIG_NET)]
use crate::socket;
use crate::{
    argument::Argument,
    task, //
};
use kernel::{
    fs::File,
    ioctl::{
        _IOC_DIR,
        _IOC_NR,
        _IOC_SIZE,
        _IOC_TYPE, //
    },
    miscdevice::{
        MiscDevice,
        MiscDeviceRegistration, //
    },
    prelude::*,
    uapi, //
};

/// `_IOW`: an order, the structure is only read.
const W: u32 = uapi::_IOC_WRITE;
/// `_IOWR`: a question, the structure is read and the answer written into it.
const WR: u32 = uapi::_IOC_WRITE | uapi::_IOC_READ;

/// An open `/dev/ckpt` holds no state: who may do what depends on the caller alone.
pub(crate) struct Device;

#[vtable]
impl MiscDevice for Device {
    type Ptr = ();

    fn open(_file: &File, _device: &MiscDeviceRegistration<Self>) -> Result {
        Ok(())
    }

    // The structures have the same layout for 32-bit callers: no `compat_ioctl`.
    fn ioctl(_device: (), _file: &File, cmd: u32, arg: usize) -> Result<isize> {
        if _IOC_TYPE(cmd) != uapi::CKPT_IOC_MAGIC {
            return Err(ENOTTY);
        }
        let arg = Argument::new(arg, _IOC_SIZE(cmd));
        match (_IOC_DIR(cmd), _IOC_NR(cmd)) {
            #[cfg(CONFIG_CKPT_SET_PID)]
            (W, uapi::CKPT_NR_SET_PID) => arg.obey(task::set_pid),
            (W, uapi::CKPT_NR_SET_IDS) => arg.obey(task::set_ids),
            (W, uapi::CKPT_NR_SET_START) => arg.obey(task::set_start),
            (W, uapi::CKPT_NR_ADD_USAGE) => arg.obey(task::add_usage),
            (WR, uapi::CKPT_NR_SIGACTIONS) => arg.answer(task::sigactions),
            (WR, uapi::CKPT_NR_THREAD) => arg.answer(task::thread),
            (WR, uapi::CKPT_NR_PROCESS) => arg.answer(task::process),
            #[cfg(CONFIG_NET)]
            (WR, uapi::CKPT_NR_TCP) => arg.answer(socket::tcp),
            #[cfg(CONFIG_NET)]
            (WR, uapi::CKPT_NR_MESSAGES) => arg.answer(socket::messages),
            _ => Err(ENOTTY),
        }?;
        Ok(0)
    }
}
