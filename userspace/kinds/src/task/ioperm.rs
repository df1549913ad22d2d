// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The I/O ports that a thread may access directly (`ioperm(2)`).
//!
//! The kernel does not show whether a thread may access all of them (`iopl(2)`).

use crust_model::object::State;
use crust_model::plan::{Call, Stage, TaskId};
use crust_model::{Error, Result};
use crust_sys::ptrace;
use serde::{Deserialize, Serialize};

use super::{ThreadAspect, ThreadView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfThread;

/// Ranges of ports: the first port, and the number of ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports(Vec<(u32, u32)>);

impl State for Ports {
    const TAG: u16 = 0x0128;
    const NAME: &'static str = "I/O ports";
    const SUPPORT: &'static str = "those that ioperm has opened, of each thread";

    fn describe(&self) -> String {
        let words: Vec<_> = self
            .0
            .iter()
            .map(|(first, count)| format!("{first:#x}..{:#x}", first + count))
            .collect();
        words.join(", ")
    }
}

/// Returns the ranges of bits that are 0.
fn ranges(bits: &[u8]) -> Vec<(u32, u32)> {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for (port, byte) in (0..).step_by(8).zip(bits) {
        for port in (0..8).filter(|n| byte & 1 << n == 0).map(|n| port + n) {
            match ranges.last_mut() {
                Some((first, count)) if *first + *count == port => *count += 1,
                _ => ranges.push((port, 1)),
            }
        }
    }
    ranges
}

impl Kind for Ports {
    type Source = OfThread;
}

impl ThreadAspect for Ports {
    fn capture(view: &ThreadView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let tid = view.thread.tid;
        let bits = ptrace::io_ports(tid)
            .map_err(|errno| Error::task(tid, "read which I/O ports it may use", errno))?;
        let ranges = bits.map_or(Vec::new(), |bits| ranges(&bits));
        Ok((!ranges.is_empty()).then_some(Self(ranges)))
    }

    fn plan(&self, task: TaskId, cx: &mut PlanCx<'_>) -> Result<()> {
        for (first, count) in &self.0 {
            let args = [u64::from(*first).into(), u64::from(*count).into(), 1.into()];
            let what = format!("I/O ports: open {count} from {first:#x}");
            let call = Call::new(what, libc::SYS_ioperm, args);
            cx.plan.call(Stage::Attributes, task, call);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_a_row_are_a_range() {
        let mut bits = [0xff; 4];
        bits[0] = 0b0111_1110;
        bits[1] = 0b1111_1100;
        bits[3] = 0;
        assert_eq!(ranges(&bits), [(0, 1), (7, 3), (24, 8)]);
        assert_eq!(ranges(&[0xff; 8192]), []);
    }
}
