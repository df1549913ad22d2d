// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Converts errors to exit statuses and messages.

use std::process::ExitCode;

use crust_engine::{Error, Refusal, check};
use serde::Serialize;

use crate::output::Json;
use crate::refusals;

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
    /// Says what went wrong, and tells the exit status.
    pub fn report(error: &anyhow::Error, json: Json) -> ExitCode {
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
            eprintln!("crust: {message}");
            eprint!("{}", refusals::table(refusals, title));
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
