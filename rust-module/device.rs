// SPDX-License-Identifier: GPL-2.0

//! The device: one line for each request.

#![forbid(unsafe_code)]

use crate::{
    ext::Argument,
    ids, snapshot, socket, usage,
    uapi::{
        nr,
        Version,
        CKPT_ABI,
        CKPT_IOC_MAGIC, //
    },
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
    uapi::{
        _IOC_READ,
        _IOC_WRITE, //
    },
};

/// `_IOW`: an order, the structure is only read.
const W: u32 = _IOC_WRITE;
/// `_IOWR`: a question, the structure is read and the answer written into it.
const WR: u32 = _IOC_WRITE | _IOC_READ;

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
        if _IOC_TYPE(cmd) != CKPT_IOC_MAGIC {
            return Err(ENOTTY);
        }
        let arg = Argument::new(arg, _IOC_SIZE(cmd));
        match (_IOC_DIR(cmd), _IOC_NR(cmd)) {
            (WR, nr::VERSION) => arg.answer(version),
            (W, nr::SET_PID) => arg.obey(ids::set_pid),
            (W, nr::SET_IDS) => arg.obey(ids::set_ids),
            (W, nr::SET_START) => arg.obey(ids::set_start),
            (WR, nr::SIGACTIONS) => arg.answer(snapshot::sigactions),
            (WR, nr::THREAD) => arg.answer(snapshot::thread),
            (WR, nr::PROCESS) => arg.answer(snapshot::process),
            (WR, nr::SOCKET) => arg.answer(socket::read),
            (WR, nr::SOCKET_QUEUE) => arg.answer(socket::copy_queue),
            (WR, nr::USAGE) => arg.answer(usage::read),
            (W, nr::ADD_USAGE) => arg.obey(usage::add),
            _ => Err(ENOTTY),
        }?;
        Ok(0)
    }
}

fn version(out: &mut Version) -> Result {
    if out.flags != 0 {
        return Err(EINVAL);
    }
    out.abi = CKPT_ABI;
    out.features = (1 << (nr::ADD_USAGE + 1)) - 1;
    Ok(())
}
