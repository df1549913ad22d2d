// SPDX-License-Identifier: GPL-2.0

//! `/dev/ckpt`: what checkpoint and restore need of the kernel and no other interface offers.
//!
//! The requests are the structures of `linux/ckpt.h`. Tasks are named by pidfds, and the requests
//! about them want a stopped tracee of the calling thread; sockets by descriptors of the caller.
//!
//! | Error    | Meaning                                                                       |
//! |----------|-------------------------------------------------------------------------------|
//! | `ENOTTY` | The request is not known.                                                     |
//! | `E2BIG`  | The structure is larger than ours, and what we do not know is not zero.       |
//! | `EFAULT` | The structure, or a buffer that it points to, cannot be accessed.             |
//! | `EINVAL` | A field has a value that it must not have, or the structure is too small.     |
//! | `EBADF`  | Not an open file descriptor, or not a pidfd.                                  |
//! | `ESRCH`  | The task is gone.                                                             |
//! | `EBUSY`  | Not a stopped tracee of the caller, or it has threads where it must not.      |
//! | `EPERM`  | A capability is lacking, or the ids do not go together.                       |
//! | `EEXIST` | A number is taken.                                                            |
//! | `EAGAIN` | A race with a process that comes or goes was lost: ask again.                 |
//! | `EOVERFLOW` | A sum of times would be too large.                                         |
//! | `ENOMEM` | Out of memory.                                                                |
//!
//! About sockets also `ENOTSOCK` if it is none, `EOPNOTSUPP` if its queue cannot be read, and
//! `ENODATA` if there is no such connection.
//!
//! The files: `device.rs` tells the requests apart, `argument.rs` copies their structures, which
//! are taken for bytes there, `task.rs` and `socket.rs` carry them out. What else needs `unsafe` is
//! in the `checkpoint` module of the `kernel` crate.
//!
//! # C example
//!
//! Stops a process, and says how long the call it sleeps in would go on for.
//!
//! ```c
//! #include <linux/ckpt.h>
//!
//! #include <err.h>
//! #include <fcntl.h>
//! #include <stdio.h>
//! #include <stdlib.h>
//! #include <sys/ioctl.h>
//! #include <sys/ptrace.h>
//! #include <sys/syscall.h>
//! #include <sys/wait.h>
//! #include <unistd.h>
//!
//! int main(int argc, char **argv)
//! {
//!     struct ckpt_thread thread = {};
//!     int dev, status;
//!     pid_t pid;
//!
//!     if (argc != 2)
//!         errx(1, "usage: %s PID", argv[0]);
//!     pid = atoi(argv[1]);
//!
//!     dev = open("/dev/ckpt", O_RDWR | O_CLOEXEC);
//!     if (dev < 0)
//!         err(1, "/dev/ckpt");
//!     thread.pidfd = syscall(SYS_pidfd_open, pid, 0);
//!     if (thread.pidfd < 0)
//!         err(1, "pidfd_open");
//!
//!     if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
//!         err(1, "ptrace");
//!     if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
//!         errx(1, "it did not stop");
//!
//!     if (ioctl(dev, CKPT_IOC_THREAD, &thread))
//!         err(1, "CKPT_IOC_THREAD");
//!     if (thread.restart.kind == CKPT_RESTART_NANOSLEEP)
//!         printf("it sleeps for another %llu ns\n", thread.restart.remaining);
//!     else
//!         printf("it does not sleep\n");
//!
//!     return 0; /* The end of its tracer lets it run again. */
//! }
//! ```

mod argument;
mod device;
#[cfg(CONFIG_NET)]
mod socket;
mod task;

use kernel::{
    miscdevice::{
        MiscDeviceOptions,
        MiscDeviceRegistration, //
    },
    prelude::*,
};

module! {
    type: Module,
    name: "ckpt",
    authors: ["crust authors"],
    description: "Hooks for checkpoint and restore",
    license: "GPL",
}

#[pin_data]
struct Module {
    #[pin]
    _device: MiscDeviceRegistration<device::Device>,
}

impl kernel::InPlaceModule for Module {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _device <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"ckpt" }),
        })
    }
}
