// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Resource limits (`getrlimit(2)`), as `/proc/PID/limits` shows them.

use crust_model::image::Image;
use crust_model::object::State;
use crust_model::plan::{Call, Data, ProcessId, Stage};
use crust_model::{Error, Result};
use serde::{Deserialize, Serialize};

use super::{ProcessAspect, ProcessView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfProcess;

/// The lines of the file in the order of the resources' numbers (fs/proc/base.c:lnames).
const NAMES: [&str; 16] = [
    "Max cpu time",
    "Max file size",
    "Max data size",
    "Max stack size",
    "Max core file size",
    "Max resident set",
    "Max processes",
    "Max open files",
    "Max locked memory",
    "Max address space",
    "Max file locks",
    "Max pending signals",
    "Max msgqueue size",
    "Max nice priority",
    "Max realtime priority",
    "Max realtime timeout",
];

/// The soft and the hard limit of each resource, by its number (`RLIMIT_*`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    limits: Vec<(u64, u64)>,
}

impl State for Limits {
    const TAG: u16 = 0x0108;
    const NAME: &'static str = "limits";
    const SUPPORT: &'static str = "soft and hard, of all 16 resources";

    fn describe(&self) -> String {
        let show = |limit: u64| match limit {
            libc::RLIM_INFINITY => "unlimited".to_owned(),
            limit => limit.to_string(),
        };
        let limits: Vec<_> = NAMES
            .iter()
            .zip(&self.limits)
            .filter(|(_, limit)| **limit != (libc::RLIM_INFINITY, libc::RLIM_INFINITY))
            .map(|(name, (soft, hard))| {
                format!(
                    "{} {}/{}",
                    name.trim_start_matches("Max "),
                    show(*soft),
                    show(*hard)
                )
            })
            .collect();
        limits.join(", ")
    }
}

impl Limits {
    /// Returns the hard limit of a process of an image for a resource.
    #[must_use]
    pub fn hard(image: &Image, process: ProcessId, resource: u32) -> u64 {
        let limits = image.get::<Self>(process);
        limits
            .and_then(|limits| limits.limits.get(resource as usize))
            .map_or(libc::RLIM_INFINITY, |(_, hard)| *hard)
    }
}

fn parse(text: &str) -> Option<Vec<(u64, u64)>> {
    let number = |word: &str| match word {
        "unlimited" => Some(libc::RLIM_INFINITY),
        word => word.parse().ok(),
    };
    NAMES
        .iter()
        .map(|name| {
            let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
            let mut words = rest.split_ascii_whitespace();
            Some((number(words.next()?)?, number(words.next()?)?))
        })
        .collect()
}

impl Kind for Limits {
    type Source = OfProcess;
}

impl ProcessAspect for Limits {
    fn capture(view: &ProcessView<'_>, capture: &mut Capture<'_>) -> Result<Option<Self>> {
        let process = view.process;
        let limits = parse(&view.text.limits).ok_or_else(|| {
            Error::malformed(format!("/proc/{}/limits", process.pid), "lacks a limit")
        })?;
        if limits[libc::RLIMIT_CPU as usize].0 != libc::RLIM_INFINITY {
            capture.refusals.lose(
                process.pid,
                "cpu-limit",
                "limit of CPU time",
                "the CPU time that it measures is counted from zero again",
                "lower the limit of the restored process by the time that it had used (prlimit --cpu)",
            );
        }
        Ok(Some(Self { limits }))
    }

    fn plan(&self, process: ProcessId, cx: &mut PlanCx<'_>) -> Result<()> {
        for (resource, (soft, hard)) in self.limits.iter().enumerate() {
            let limit = Data::words(&[*soft, *hard]);
            let args = [0.into(), (resource as u64).into(), limit.into(), 0.into()];
            let name = NAMES.get(resource).unwrap_or(&"?");
            let call = Call::new(format!("limit `{name}`"), libc::SYS_prlimit64, args);
            cx.plan.call(Stage::Credentials, process.leader(), call);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::sys::resource::{Resource, getrlimit};

    use super::*;

    #[test]
    fn our_own_limits_as_the_kernel_says_them() {
        let limits = parse(&fs::read_to_string("/proc/self/limits").unwrap()).unwrap();
        for resource in [
            Resource::RLIMIT_NOFILE,
            Resource::RLIMIT_STACK,
            Resource::RLIMIT_CORE,
            Resource::RLIMIT_RTTIME,
        ] {
            assert_eq!(limits[resource as usize], getrlimit(resource).unwrap());
        }
    }
}
