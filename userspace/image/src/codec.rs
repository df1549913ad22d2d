// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The encoding of states: the one file that knows bincode.

use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

/// The most bytes that one state may take when it is decoded: a length field of a hostile image
/// must not make us allocate all memory.
pub const MAX_STATE: usize = 256 << 20;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<MAX_STATE>()
}

/// Encodes a state.
pub fn encode<T: Serialize>(state: &T) -> Result<Vec<u8>, Error> {
    bincode::serde::encode_to_vec(state, config()).map_err(|_| Error)
}

/// Decodes a state; bytes that are left over are an error.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bincode::serde::decode_from_slice(bytes, config()) {
        Ok((state, used)) if used == bytes.len() => Ok(state),
        _ => Err(Error),
    }
}
