// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Options that several subcommands share.

use std::ffi::OsString;
use std::io::{IsTerminal, stdin, stdout};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, ValueEnum};
use crust_engine::{Backend as Chosen, Place};

/// The name of the image in a directory that `-D` names.
const IMAGE: &str = "crust.img";

/// Which tree of processes is meant.
#[derive(Debug, Args)]
pub struct Root {
    /// The process at the root of the tree
    #[arg(value_name = "PID", value_parser = clap::value_parser!(i32).range(1..), required_unless_present = "tree")]
    pid: Option<i32>,
    /// The same, as an option
    #[arg(short, long, value_name = "PID", value_parser = clap::value_parser!(i32).range(1..), conflicts_with = "pid")]
    tree: Option<i32>,
}

impl Root {
    /// The process at the root.
    pub fn pid(&self) -> i32 {
        // One of the two exists: clap enforces that.
        self.pid.or(self.tree).unwrap_or_default()
    }
}

/// Where a dump puts the image.
#[derive(Debug, Args)]
pub struct Target {
    /// Write the image to DIR/crust.img; DIR is made if it does not exist
    #[arg(short = 'D', long = "images-dir", value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// Write the image to FILE instead, or with - to the standard output [default: ./crust.img]
    #[arg(short, long, value_name = "FILE", conflicts_with = "directory")]
    pub image: Option<PathBuf>,
}

impl Target {
    /// Whether the image goes to the standard output.
    pub fn is_stream(&self) -> bool {
        self.image.as_deref().is_some_and(is_stream)
    }

    /// The image.
    ///
    /// # Errors
    ///
    /// If it would be written to a terminal.
    pub fn place(&self) -> Result<Place, clap::Error> {
        let path = match (&self.image, &self.directory) {
            (Some(image), _) if is_stream(image) => {
                return stream(
                    stdout().is_terminal(),
                    "an image is not for a terminal: redirect the standard output, as in `crust dump PID -i - | ...`",
                );
            }
            (Some(image), _) => image.clone(),
            (None, Some(directory)) => directory.join(IMAGE),
            (None, None) => IMAGE.into(),
        };
        Ok(Place::File(path))
    }
}

/// Whether a name is that of the stream. A file of this name is `./-`.
fn is_stream(image: &Path) -> bool {
    image.as_os_str() == "-"
}

fn stream(is_terminal: bool, problem: &str) -> Result<Place, clap::Error> {
    if is_terminal {
        let problem = format!("{problem}\n");
        return Err(clap::Error::raw(ErrorKind::ValueValidation, problem));
    }
    Ok(Place::Stream)
}

/// Which image is read.
#[derive(Debug, Args)]
pub struct Source {
    /// The image, or a directory with crust.img in it, or - for the standard input [default: ./crust.img]
    #[arg(value_name = "IMAGE")]
    positional: Option<PathBuf>,
    /// Read DIR/crust.img
    #[arg(
        short = 'D',
        long = "images-dir",
        value_name = "DIR",
        conflicts_with = "positional"
    )]
    pub directory: Option<PathBuf>,
    /// The image, as after `dump`
    #[arg(short, long, value_name = "FILE", hide = true, conflicts_with_all = ["positional", "directory"])]
    image: Option<PathBuf>,
}

impl Source {
    /// The image.
    ///
    /// # Errors
    ///
    /// If it would be read from a terminal.
    pub fn place(&self) -> Result<Place, clap::Error> {
        let named = self.positional.as_ref().or(self.image.as_ref());
        let path = match (named, &self.directory) {
            (Some(image), _) if is_stream(image) => {
                return stream(
                    stdin().is_terminal(),
                    "no image comes from a terminal: redirect the standard input, as in `... | crust restore -`",
                );
            }
            (Some(directory), _) if directory.is_dir() => directory.join(IMAGE),
            (Some(image), _) => image.clone(),
            (None, Some(directory)) => directory.join(IMAGE),
            (None, None) => IMAGE.into(),
        };
        Ok(Place::File(path))
    }
}

/// How the work is done, and what is told of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// How to ask the kernel
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub backend: Backend,
    /// Print the report as JSON, and nothing else
    #[arg(long)]
    pub json: bool,
    /// Say more; -v4 is the same as -vvvv, and all there is
    #[arg(short, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Write the log to FILE; with -D it is relative to that directory
    #[arg(short = 'o', long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

/// How the kernel is asked.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Backend {
    /// /dev/ckpt if it is there
    #[default]
    Auto,
    /// /dev/ckpt, or fail
    Module,
    /// What a stock kernel can do
    Mainline,
}

impl From<Backend> for Chosen {
    fn from(backend: Backend) -> Self {
        match backend {
            Backend::Auto => Self::Auto,
            Backend::Module => Self::Module,
            Backend::Mainline => Self::Mainline,
        }
    }
}

/// A number of bytes, as `4096` or `16M`.
pub fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.as_bytes().last() {
        Some(b'K' | b'k') => (&text[..text.len() - 1], 10),
        Some(b'M' | b'm') => (&text[..text.len() - 1], 20),
        Some(b'G' | b'g') => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().map_err(|_| "not a number of bytes")?;
    let bytes = number.checked_mul(1 << shift);
    bytes.ok_or_else(|| "too many bytes".into())
}

/// Turns `-v4`, as users of CRIU write it, into `-vvvv`, and `-v0` into nothing.
pub fn expand_verbosity(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let expand = |argument: OsString| match argument.to_str().map(str::as_bytes) {
        Some([b'-', b'v', b'0']) => None,
        Some([b'-', b'v', digit @ b'1'..=b'9']) => {
            let count = usize::from(digit - b'0');
            Some(format!("-{}", "v".repeat(count)).into())
        }
        _ => Some(argument),
    };
    arguments.filter_map(expand).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("16M"), Ok(16 << 20));
        assert_eq!(size("2k"), Ok(2048));
        for wrong in ["", "M", "-1", "1.5G", "1T", "99999999999G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn verbosity_as_criu_has_it() {
        let words = |line: &str| expand_verbosity(line.split(' ').map(OsString::from));
        assert_eq!(words("crust dump -v4 7"), ["crust", "dump", "-vvvv", "7"]);
        assert_eq!(words("crust dump -v0 -vv"), ["crust", "dump", "-vv"]);
        assert_eq!(words("crust -v10 -o v1"), ["crust", "-v10", "-o", "v1"]);
    }
}
