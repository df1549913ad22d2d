// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The encoding of states: the one file that knows bincode.
//!
//! bincode 2 in its standard configuration: little-endian, integers of variable length, fields in
//! the order of their declaration and without names. So a struct that changes needs a new
//! [`Record::version`](crate::Record::version).

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, MAX_STATE, Result};

fn config() -> impl bincode::config::Config {
    // The limit also applies to what a length inside the state would make the decoder allocate.
    bincode::config::standard().with_limit::<MAX_STATE>()
}

/// Encodes a state.
///
/// # Errors
///
/// [`Error::Codec`] if its `Serialize` fails, [`Error::TooLarge`] beyond [`MAX_STATE`].
pub fn encode<T: Serialize>(state: &T) -> Result<Vec<u8>> {
    let bytes =
        bincode::serde::encode_to_vec(state, config()).map_err(|error| failed("encode", &error))?;
    if bytes.len() > MAX_STATE {
        return Err(Error::TooLarge {
            what: "the state of one object",
            size: bytes.len() as u64,
            limit: MAX_STATE as u64,
        });
    }
    Ok(bytes)
}

/// Decodes a state.
///
/// # Errors
///
/// [`Error::Codec`] if the bytes are not such a state, or if some are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let (state, used) = bincode::serde::decode_from_slice(bytes, config())
        .map_err(|error| failed("decode", &error))?;
    if used != bytes.len() {
        return Err(Error::Codec {
            action: "decode",
            problem: format!("{} bytes are left over", bytes.len() - used),
        });
    }
    Ok(state)
}

fn failed(action: &'static str, error: &dyn std::fmt::Display) -> Error {
    Error::Codec {
        action,
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let state = (7_u64, String::from("pipe"), vec![-1_i32, 0, 1], Some(true));
        let bytes = encode(&state).unwrap();
        assert_eq!(
            decode::<(u64, String, Vec<i32>, Option<bool>)>(&bytes).unwrap(),
            state
        );
    }

    #[test]
    fn left_over_bytes_are_an_error() {
        let mut bytes = encode(&1_u8).unwrap();
        bytes.push(0);
        assert!(
            decode::<u8>(&bytes)
                .unwrap_err()
                .to_string()
                .contains("left over")
        );
    }

    #[test]
    fn a_huge_length_does_not_allocate() {
        // A vector of 2^60 numbers that are all missing.
        let mut bytes = vec![253];
        bytes.extend(1_u64.rotate_left(60).to_le_bytes());
        assert!(decode::<Vec<u64>>(&bytes).is_err());
        assert!(decode::<String>(&bytes).is_err());
    }
}
