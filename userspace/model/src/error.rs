// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Errors: every error names the task, the object and the operation.

use std::io::ErrorKind;

use nix::errno::Errno;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure. What crust *declines* to do is a [`Refusal`](crate::refusal::Refusal) instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task died while crust worked on it.
    #[error("there is no process or thread {task} (any more): {operation}")]
    Gone {
        /// The thread id.
        task: i32,
        /// The operation that was under way.
        operation: String,
    },
    /// A system call for a task failed.
    #[error("task {task}: {operation}: {errno}")]
    Task {
        /// The thread id.
        task: i32,
        /// The object and operation, as in `fd 7: read /proc/7/fdinfo/3`.
        operation: String,
        /// The error number.
        errno: Errno,
    },
    /// A system call that concerns no task failed.
    #[error("{operation}: {errno}")]
    System {
        /// The object and operation.
        operation: String,
        /// The error number.
        errno: Errno,
    },
    /// Data from the kernel or an image makes no sense to crust.
    #[error("{object}: {problem}")]
    Malformed {
        /// The object in which it was found.
        object: String,
        /// The problem with it.
        problem: String,
    },
    /// A dump or restore was declined, for these reasons.
    #[error("{} of the tree cannot be carried over", crate::refusal::count(.0))]
    Refused(Vec<crate::refusal::Refusal>),
    /// A restore conflicts with the current state of this machine (a process id is taken, ...).
    #[error("{} in the way of the restore", crate::refusal::count(.0))]
    Conflict(Vec<crate::refusal::Refusal>),
    /// The user interrupted the operation; everything was undone.
    #[error("interrupted")]
    Interrupted,
    /// The [observer](crate::observer) decided against it; everything was undone.
    #[error("vetoed at {point}: {reason}")]
    Vetoed {
        /// The name of the point that had been reached.
        point: &'static str,
        /// The reason of the observer.
        reason: String,
    },
    /// The image could not be read or written.
    #[error(transparent)]
    Image(#[from] crust_image::Error),
}

impl Error {
    /// Returns an error about a task: [`Error::Gone`] if `errno` says that it has died.
    pub fn task(task: i32, operation: impl Into<String>, errno: Errno) -> Self {
        let operation = operation.into();
        match errno {
            Errno::ESRCH => Self::Gone { task, operation },
            errno => Self::Task {
                task,
                operation,
                errno,
            },
        }
    }

    /// Returns an error that concerns no task.
    pub fn system(operation: impl Into<String>, errno: Errno) -> Self {
        Self::System {
            operation: operation.into(),
            errno,
        }
    }

    /// Returns an error that concerns no task, from one of the standard library; `EIO` if that is not from the kernel.
    pub fn from_io(operation: impl Into<String>, error: &std::io::Error) -> Self {
        let errno = error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        Self::system(operation, errno)
    }

    /// Returns whether the kernel denied permission.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::Task { errno, .. } | Self::System { errno, .. } => {
                matches!(errno, Errno::EPERM | Errno::EACCES)
            }
            Self::Image(crust_image::Error::Io { error, .. }) => {
                error.kind() == ErrorKind::PermissionDenied
            }
            _ => false,
        }
    }

    /// Returns whether there was no space left on a file system, or the user may not have more.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::Task { errno, .. } | Self::System { errno, .. } => {
                matches!(errno, Errno::ENOSPC | Errno::EDQUOT)
            }
            Self::Image(crust_image::Error::Io { error, .. }) => matches!(
                error.kind(),
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }

    /// Returns an error about data that makes no sense.
    pub fn malformed(object: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Malformed {
            object: object.into(),
            problem: problem.into(),
        }
    }
}
