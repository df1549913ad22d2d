// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A system call that a restored task makes, with its arguments.

use std::borrow::Cow;

use crust_sys::{RemoteAddr, word};
use serde::{Deserialize, Serialize};

/// An argument of a system call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arg {
    /// A number, which may be a descriptor, or an address in the task.
    Value(u64),
    /// The address of a copy of these bytes, which exists for this call only.
    Data(Data),
    /// The result of an earlier call *of the same task in the same stage*.
    Returned(CallRef),
}

/// Bytes in the scratch memory of a task, with pointers to other such bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// The bytes themselves.
    pub bytes: Vec<u8>,
    /// At byte offset `.0` of `bytes`, the 64-bit address of `.1` is inserted.
    pub pointers: Vec<(usize, Data)>,
    /// At byte offset `.0` of `bytes`, a `struct timespec` of the moment `.1` is inserted.
    pub moments: Vec<(usize, Moment)>,
}

/// A moment that is only known when the call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The clock.
    pub clock: i32,
    /// The distance from now in nanoseconds; negative before now.
    pub from_now: i64,
}

impl Data {
    /// Makes plain bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            ..Self::default()
        }
    }

    /// Makes a path or another string, with its terminating zero.
    pub fn string(text: impl AsRef<[u8]>) -> Self {
        let mut bytes = text.as_ref().to_vec();
        bytes.push(0);
        Self::new(bytes)
    }

    /// Makes a structure or array of 64-bit integers.
    #[must_use]
    pub fn words(words: &[u64]) -> Self {
        Self::new(
            words
                .iter()
                .flat_map(|word| word.to_ne_bytes())
                .collect::<Vec<u8>>(),
        )
    }

    /// Inserts a moment at `offset`.
    #[must_use]
    pub fn moment(mut self, offset: usize, moment: Moment) -> Self {
        self.moments.push((offset, moment));
        self
    }

    /// Inserts the address of `target` at `offset`.
    #[must_use]
    pub fn pointer(mut self, offset: usize, target: Data) -> Self {
        self.pointers.push((offset, target));
        self
    }
}

/// A reference to an earlier call of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRef(pub u32);

/// The results of a call that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// Anything but an error number.
    Success,
    /// This number.
    Exactly(u64),
    /// Anything; for calls that may fail without harm. Say why at the place that uses it.
    Anything,
}

/// A system call, made by the task itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The object and operation, for the plan and for errors, as in `fd 3: open /var/log/x`.
    pub label: String,
    /// The number of the call.
    pub nr: i64,
    /// The arguments.
    pub args: Vec<Arg>,
    /// The result that is expected.
    pub expect: Expect,
}

impl Call {
    /// Makes a call that must succeed.
    pub fn new(label: impl Into<String>, nr: i64, args: impl Into<Vec<Arg>>) -> Self {
        Self {
            label: label.into(),
            nr,
            args: args.into(),
            expect: Expect::Success,
        }
    }

    /// Makes this a call that must return `value`.
    #[must_use]
    pub fn must_return(mut self, value: u64) -> Self {
        self.expect = Expect::Exactly(value);
        self
    }

    /// Returns the same call with its references to earlier calls replaced.
    #[must_use]
    pub fn with_references(&self, replace: impl Fn(CallRef) -> CallRef) -> Cow<'_, Self> {
        let differs = |arg: &Arg| matches!(arg, Arg::Returned(to) if replace(*to) != *to);
        if !self.args.iter().any(differs) {
            return Cow::Borrowed(self);
        }
        let mut call = self.clone();
        for arg in &mut call.args {
            if let Arg::Returned(to) = arg {
                *to = replace(*to);
            }
        }
        Cow::Owned(call)
    }

    /// Returns the same call, with the moments in its data filled in by the clocks of a task.
    #[must_use]
    pub fn now(&self, clock: impl Fn(i32) -> u64) -> Cow<'_, Self> {
        const SECOND: u64 = 1_000_000_000;
        let has_moments = |arg: &Arg| matches!(arg, Arg::Data(data) if !data.moments.is_empty());
        if !self.args.iter().any(has_moments) {
            return Cow::Borrowed(self);
        }
        let mut call = self.clone();
        for arg in &mut call.args {
            let Arg::Data(data) = arg else { continue };
            for (offset, moment) in std::mem::take(&mut data.moments) {
                let time = clock(moment.clock).saturating_add_signed(moment.from_now);
                let parts = [time / SECOND, time % SECOND]
                    .map(u64::to_ne_bytes)
                    .concat();
                data.bytes[offset..][..16].copy_from_slice(&parts);
            }
        }
        Cow::Owned(call)
    }

    /// Makes this a call whose result does not matter.
    #[must_use]
    pub fn may_fail(mut self) -> Self {
        self.expect = Expect::Anything;
        self
    }
}

impl From<u64> for Arg {
    fn from(value: u64) -> Self {
        Self::Value(value)
    }
}

impl From<u32> for Arg {
    fn from(value: u32) -> Self {
        Self::Value(value.into())
    }
}

impl From<i32> for Arg {
    /// Sign-extends the value, as C does when it passes an `int` for a `long`.
    fn from(value: i32) -> Self {
        Self::Value(word::from_int(value))
    }
}

impl From<RemoteAddr> for Arg {
    fn from(value: RemoteAddr) -> Self {
        Self::Value(value.0)
    }
}

impl From<Data> for Arg {
    fn from(value: Data) -> Self {
        Self::Data(value)
    }
}

impl From<CallRef> for Arg {
    fn from(value: CallRef) -> Self {
        Self::Returned(value)
    }
}
