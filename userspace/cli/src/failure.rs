// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Converts errors to exit statuses and messages.

use std::process::ExitCode;

use crust_engine::words::printable_lines;
use crust_engine::{Error, Place, Refusal, check, space};
use serde::Serialize;

use crate::output::{Json, bytes};
use crate::refusals::{self, Names};

/// What is printed with `--json` if a command did not do its work.
#[derive(Debug, Serialize)]
pub struct Failure<'a> {
    /// `failed`, `refused` or `conflict`.
    kind: &'static str,
    /// In one line.
    message: String,
    /// All of them, if that is why.
    refusals: &'a [Refusal],
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Failure<'a>,
}

/// The exit status of what cannot be meant, as clap has it.
const WRONG_USAGE: u8 = 2;
/// The exit status of a dump that was refused.
pub const REFUSED: u8 = 3;
/// The exit status of a restore that something is in the way of.
pub const CONFLICT: u8 = 4;

impl Failure<'_> {
    /// Says what went wrong, and tells the exit status. The tasks that it is
    /// about are those of `image`, if there is one, and otherwise exist.
    pub fn report(error: &anyhow::Error, json: Json, image: Option<&Place>) -> ExitCode {
        if let Some(usage) = error.downcast_ref::<clap::Error>() {
            // Nothing can be done if even this cannot be written.
            let _ = usage.print();
            return ExitCode::from(WRONG_USAGE);
        }
        let (kind, code, refusals, title) = match error.downcast_ref::<Error>() {
            Some(Error::Refused(refusals)) => (
                "refused",
                REFUSED,
                refusals.as_slice(),
                "cannot be carried over:",
            ),
            Some(Error::Conflict(refusals)) => {
                ("conflict", CONFLICT, refusals.as_slice(), "in the way:")
            }
            _ => ("failed", 1, &[][..], ""),
        };
        // `{:#}` formats the whole chain of causes.
        let message = format!("{error:#}");
        tracing::error!("{message}");
        for refusal in refusals {
            tracing::error!(?refusal);
        }
        if json.is_asked() {
            let failure = Failure {
                kind,
                message,
                refusals,
            };
            // Nothing can be done if even this cannot be written.
            let _ = json.print(&Envelope { error: failure });
        } else {
            eprintln!("crust: {}", printable_lines(&message));
            if !refusals.is_empty() {
                let names = image.map_or(Names::Machine, Names::of_image);
                eprint!("{}", refusals::table(refusals, title, &names));
            }
            if error.downcast_ref::<Error>().is_some_and(Error::is_denied) {
                let findings = check::check();
                let required = |item: &&check::Item| item.need == check::Need::Required;
                for item in findings.missing().filter(required) {
                    eprintln!(" -> {}", item.remedy);
                }
            }
        }
        ExitCode::from(code)
    }
}

/// Adds to an error for want of space which file system it is, how much of it is free, and how
/// much an image with `needed` bytes of memory takes (0 if that is not known).
pub fn explain_space(error: Error, image: &Place, needed: u64) -> anyhow::Error {
    let is_out = error.is_out_of_space();
    let error = anyhow::Error::from(error);
    let Some(space) = space(image).filter(|_| is_out) else {
        return error;
    };
    let mut problem = format!(
        "the file system at {} has {} free",
        space.mount_point.display(),
        bytes(space.free)
    );
    if needed > 0 {
        problem.push_str(&format!(", the image needs more than {}", bytes(needed)));
    }
    error.context(problem)
}
