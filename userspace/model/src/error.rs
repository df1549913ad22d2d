// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What broke: every error names the task, the object and the operation.

use std::io::ErrorKind;

use nix::errno::Errno;

/// The result of everything in this crate that can break.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Something broke. What crust *declines* to do is a [`Refusal`](crate::refusal::Refusal) instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The task died while crust worked on it.
    #[error("task {task} does not exist (any more): {operation}")]
    Gone {
        /// Its thread id.
        task: i32,
        /// What was being done.
        operation: String,
    },
    /// A system call about a task failed.
    #[error("task {task}: {operation}: {errno}")]
    Task {
        /// Its thread id.
        task: i32,
        /// Object and operation, as `fd 7: read /proc/7/fdinfo/3`.
        operation: String,
        /// Why.
        errno: Errno,
    },
    /// A system call that is about no task failed.
    #[error("{operation}: {errno}")]
    System {
        /// Object and operation.
        operation: String,
        /// Why.
        errno: Errno,
    },
    /// What the kernel or an image says makes no sense to crust.
    #[error("{object}: {problem}")]
    Malformed {
        /// Where it was found.
        object: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A dump or restore declined: see the refusals.
    #[error("{} of the tree cannot be carried over", crate::refusal::count(.0))]
    Refused(Vec<crate::refusal::Refusal>),
    /// A restore cannot be done beside what is on this machine now (a number is taken, ...).
    #[error("{} in the way", crate::refusal::count(.0))]
    Conflict(Vec<crate::refusal::Refusal>),
    /// The user interrupted the operation; everything was undone.
    #[error("interrupted")]
    Interrupted,
    /// The image could not be read or written.
    #[error(transparent)]
    Image(#[from] crust_image::Error),
}

impl Error {
    /// An error about a task: [`Error::Gone`] if `errno` says that it died.
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

    /// An error that is about no task.
    pub fn system(operation: impl Into<String>, errno: Errno) -> Self {
        Self::System {
            operation: operation.into(),
            errno,
        }
    }

    /// Whether the kernel said that crust may not.
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

    /// Data that makes no sense.
    pub fn malformed(object: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Malformed {
            object: object.into(),
            problem: problem.into(),
        }
    }
}
