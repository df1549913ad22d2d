// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Mutations of real inputs.

use fastrand::Rng;

/// Numbers at which sizes and offsets go wrong.
const BORDERS: [u64; 10] = [
    0,
    1,
    0x7f,
    0xff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX - 1,
    u64::MAX,
];

/// Returns one of the seeds with one to eight changes.
pub fn mutate(seeds: &[Vec<u8>], random: &mut Rng) -> Vec<u8> {
    let mut input = seeds[random.usize(..seeds.len())].clone();
    for _ in 0..random.usize(1..=8) {
        change(&mut input, seeds, random);
    }
    input
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Rng) {
    if input.is_empty() {
        input.push(random.u8(..));
        return;
    }
    let at = random.usize(..input.len());
    let rest = input.len() - at;
    match random.u8(..8) {
        0 => input[at] ^= 1 << random.u8(..8),
        1 => input[at] = random.u8(..),
        2 => input.truncate(at),
        3 => drop(input.drain(at..at + random.usize(..=rest.min(16)))),
        4 => {
            let border = BORDERS[random.usize(..BORDERS.len())].to_le_bytes();
            let size = [1, 2, 4, 8][random.usize(..4)].min(rest);
            input[at..at + size].copy_from_slice(&border[..size]);
        }
        5 => {
            let number = BORDERS[random.usize(..BORDERS.len())].to_string();
            input.splice(at..at + rest.min(random.usize(..4)), number.bytes());
        }
        6 => {
            let twice = input[at..at + random.usize(..=rest.min(64))].to_vec();
            input.splice(at..at, twice);
        }
        _ => {
            let other = &seeds[random.usize(..seeds.len())];
            let from = random.usize(..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let seeds = [b"State:\tS (sleeping)\n".to_vec(), vec![1, 2, 3]];
        let inputs = |seed| {
            let mut random = Rng::with_seed(seed);
            (0..200)
                .map(|_| mutate(&seeds, &mut random))
                .collect::<Vec<_>>()
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
        assert!(inputs(7).iter().any(|input| !seeds.contains(input)));
    }
}
