// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Batches: many system calls of one task between two stops.
//!
//! A batch is laid out in the scratch memory of its task: an array of [`Entry`], followed by the
//! data that the calls point to. The code of [`crust_sys::stub`] runs it.

use crust_model::plan::{Arg, Call, Data, Expect};
use crust_model::{Error, Result};
use crust_sys::stub::{Entry, check};
use crust_sys::{RemoteAddr, memory, word};
use zerocopy::{FromBytes, IntoBytes};

use crate::remote::{Caller, error_number};

/// The layout of the scratch memory of a restored task, in bytes from its start.
pub mod layout {
    /// The code.
    pub const CODE: u64 = 0;
    /// A [`TileConfig`](crust_sys::stub::TileConfig), after the code.
    pub const TILES: u64 = 0xfc0;
    /// Batches and their data, up to the end.
    pub const BATCHES: u64 = 0x1000;
}

/// A batch as it is laid out in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The entries, followed by the data.
    pub bytes: Vec<u8>,
    /// The number of entries.
    pub calls: usize,
}

/// The size of an entry in bytes.
pub const ENTRY: usize = size_of::<Entry>();

impl Batch {
    /// Lays out calls for the address `at`. `returned` gives the result of an earlier call that is
    /// not in this batch, or the index of one that is.
    pub fn encode<'a>(
        calls: impl ExactSizeIterator<Item = &'a Call>,
        at: RemoteAddr,
        returned: impl Fn(u32) -> Result<Returned>,
    ) -> Result<Self> {
        let count = calls.len();
        let mut batch = Self {
            bytes: vec![0; count * ENTRY],
            calls: count,
        };
        for (index, call) in calls.enumerate() {
            let mut entry = Entry {
                nr: word::from_long(call.nr),
                ..Entry::default()
            };
            if call.args.len() > entry.args.len() {
                return Err(Error::malformed(&call.label, "more than six arguments"));
            }
            for (number, arg) in call.args.iter().enumerate() {
                entry.args[number] = match arg {
                    Arg::Value(value) => *value,
                    Arg::Data(data) => batch.place(data, at),
                    Arg::Returned(reference) => match returned(reference.0)? {
                        Returned::Value(value) => value,
                        Returned::Here(place) if place < index => {
                            entry.indirect |= 1 << number;
                            let result = place * ENTRY + std::mem::offset_of!(Entry, result);
                            at.offset(result as u64).0
                        }
                        Returned::Here(_) => {
                            return Err(Error::malformed(
                                &call.label,
                                "it needs what a later call returns",
                            ));
                        }
                    },
                };
            }
            (entry.check, entry.wanted) = match call.expect {
                Expect::Anything => (check::NOTHING, 0),
                Expect::Success => (check::SUCCESS, 0),
                Expect::Exactly(value) => (check::EXACTLY, value),
            };
            batch.bytes[index * ENTRY..][..ENTRY].copy_from_slice(entry.as_bytes());
        }
        Ok(batch)
    }

    /// Appends data and returns its address.
    fn place(&mut self, data: &Data, at: RemoteAddr) -> u64 {
        let start = self.bytes.len().next_multiple_of(16);
        self.bytes.resize(start, 0);
        self.bytes.extend(&data.bytes);
        for (offset, target) in &data.pointers {
            let address = self.place(target, at);
            self.bytes[start + offset..][..8].copy_from_slice(&address.to_ne_bytes());
        }
        at.offset(start as u64).0
    }

    /// Returns the number of bytes that the entries take.
    #[must_use]
    pub fn entry_bytes(&self) -> usize {
        self.calls * ENTRY
    }
}

/// A result that a later call may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returned {
    /// The result is known.
    Value(u64),
    /// The result will be in this entry of the same batch.
    Here(usize),
}

/// Writes the data of a call, which must not refer to another call, into the memory of the task
/// that will make it, and returns the arguments of the call.
///
/// # Errors
///
/// [`Error::Task`] if the memory cannot be written to.
pub fn place(caller: &Caller, at: RemoteAddr, call: &Call) -> Result<[u64; 6]> {
    let batch = Batch::encode(std::iter::once(call), at, |_| {
        Err(Error::malformed(&call.label, "refers to another call"))
    })?;
    memory::write(caller.tid, at, &batch.bytes)
        .map_err(|errno| Error::task(caller.tid, &call.label, errno))?;
    let entry = Entry::read_from_bytes(&batch.bytes[..ENTRY])
        .map_err(|_| Error::malformed(&call.label, "half an entry"))?;
    Ok(entry.args)
}

/// Returns an upper bound of the bytes that a call takes.
#[must_use]
pub fn size(call: &Call) -> usize {
    fn of(data: &Data) -> usize {
        data.bytes.len()
            + 16
            + data
                .pointers
                .iter()
                .map(|(_, data)| of(data))
                .sum::<usize>()
    }
    let data = call.args.iter().map(|arg| match arg {
        Arg::Data(data) => of(data),
        _ => 0,
    });
    ENTRY + data.sum::<usize>()
}

/// Returns the results of the calls of a batch.
///
/// `stopped_at` is the entry at which the batch stopped.
///
/// # Errors
///
/// [`Error::Task`] names the call that failed.
pub fn results<'a>(
    tid: i32,
    calls: impl Iterator<Item = &'a Call>,
    entries: &[u8],
    stopped_at: usize,
) -> Result<Vec<u64>> {
    let mut results = Vec::new();
    for (index, (call, bytes)) in calls.zip(entries.chunks_exact(ENTRY)).enumerate() {
        let entry = Entry::read_from_bytes(bytes)
            .map_err(|_| Error::malformed(&call.label, "half an entry"))?;
        if index == stopped_at {
            return Err(match error_number(entry.result) {
                Some(errno) => Error::Task {
                    task: tid,
                    operation: call.label.clone(),
                    errno,
                },
                None => Error::malformed(
                    format!("task {tid}: {}", call.label),
                    format!(
                        "returned {:#x} instead of {:#x}",
                        entry.result, entry.wanted
                    ),
                ),
            });
        }
        results.push(entry.result);
    }
    Ok(results)
}

/// Returns the results of the calls of a batch in which any result is acceptable.
#[must_use]
pub fn returned(entries: &[u8]) -> Vec<u64> {
    entries
        .chunks_exact(ENTRY)
        .map(|bytes| Entry::read_from_bytes(bytes).map_or(0, |entry| entry.result))
        .collect()
}

#[cfg(test)]
mod tests {
    use crust_model::plan::CallRef;

    use super::*;

    fn encode(calls: &[Call]) -> Result<Batch> {
        Batch::encode(calls.iter(), RemoteAddr(0x1000), |reference| {
            Ok(match reference {
                9 => Returned::Value(77),
                place => Returned::Here(place as usize),
            })
        })
    }

    #[test]
    fn data_and_results_are_found_by_their_addresses() {
        let calls = [
            Call::new("open", 2, [Data::string("/x").into(), 0_u64.into()]),
            Call::new(
                "dup",
                33,
                [CallRef(0).into(), Arg::from(5), CallRef(9).into()],
            )
            .must_return(5),
        ];
        let batch = encode(&calls).unwrap();
        let first = Entry::read_from_bytes(&batch.bytes[..ENTRY]).unwrap();
        let second = Entry::read_from_bytes(&batch.bytes[ENTRY..2 * ENTRY]).unwrap();
        assert_eq!(first.args[0], 0x1000 + 160);
        assert_eq!(&batch.bytes[160..163], b"/x\0");
        assert_eq!(second.args[..3], [0x1000 + 72, 5, 77]);
        assert_eq!(second.indirect, 1);
        assert_eq!((second.check, second.wanted), (check::EXACTLY, 5));
        assert!(calls.iter().map(size).sum::<usize>() >= batch.bytes.len());
    }

    #[test]
    fn the_failed_call_is_named() {
        let calls = [Call::new("close", 3, []), Call::new("open /x", 2, [])];
        let mut entries = encode(&calls).unwrap().bytes;
        entries[ENTRY + 72..].copy_from_slice(&(-2_i64).to_ne_bytes());
        let error = results(7, calls.iter(), &entries, 1).unwrap_err();
        assert!(error.to_string().contains("open /x: ENOENT"), "{error}");
        assert_eq!(results(7, calls.iter(), &entries, 2).unwrap()[0], 0);
    }
}
