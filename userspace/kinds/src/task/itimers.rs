// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The three interval timers of a process (`setitimer(2)`).

use crust_model::Result;
use crust_model::object::State;
use crust_model::plan::{Call, Data, ProcessId, Stage};
use crust_sys::signal::SigInfo;
use crust_tracee::clock;
use serde::{Deserialize, Serialize};

use super::{ProcessAspect, ProcessView};
use crate::capture::Capture;
use crate::kind::Kind;
use crate::plan_context::PlanCx;
use crate::task::OfProcess;

/// `ITIMER_REAL`.
const REAL: usize = 0;
const NAMES: [&str; 3] = ["ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF"];

/// The time until expiration and the interval of each timer, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Itimers {
    timers: [(u64, u64); 3],
}

impl State for Itimers {
    const TAG: u16 = 0x010E;
    const NAME: &'static str = "interval timers";
    const SUPPORT: &'static str = "all three, with the time that was left";

    fn describe(&self) -> String {
        let timers: Vec<_> = NAMES
            .iter()
            .zip(&self.timers)
            .filter(|(_, timer)| **timer != (0, 0))
            .map(|(name, (value, interval))| format!("{name} in {value} ns, every {interval} ns"))
            .collect();
        timers.join("; ")
    }
}

/// Converts a time to `struct timeval`, never rounding down to zero, which would disarm the timer.
fn timeval(nanoseconds: u64) -> [u64; 2] {
    let micros = nanoseconds.div_ceil(1000);
    [micros / 1_000_000, micros % 1_000_000]
}

impl Kind for Itimers {
    type Source = OfProcess;
}

impl ProcessAspect for Itimers {
    fn capture(view: &ProcessView<'_>, _: &mut Capture<'_>) -> Result<Option<Self>> {
        let mut timers = view
            .kernel
            .itimer
            .map(|timer| (timer.value, timer.interval));
        if timers[REAL].0 != 0 {
            let is_of_timer =
                |info: &SigInfo| info.signal() == libc::SIGALRM && info.code() == libc::SI_KERNEL;
            let told = view.signals()?.iter().any(is_of_timer);
            // The timer may have expired since its remaining time was read.
            if told && view.asked.saturating_add(timers[REAL].0) <= clock::monotonic() {
                timers[REAL].0 = 0;
            }
        }
        let armed = timers.iter().any(|timer| *timer != (0, 0));
        Ok(armed.then_some(Self { timers }))
    }

    fn plan(&self, process: ProcessId, cx: &mut PlanCx<'_>) -> Result<()> {
        for (which, (mut value, interval)) in self.timers.into_iter().enumerate() {
            if (value, interval) == (0, 0) {
                continue;
            }
            if which == REAL && value == 0 {
                // The timer has expired, and is rearmed when its pending signal is taken
                // (kernel/signal.c:dequeue_signal). A timer that expires at once reaches that state.
                value = 1;
            }
            let timer = [timeval(interval), timeval(value)].concat();
            let args = [(which as u64).into(), Data::words(&timer).into(), 0.into()];
            let call = Call::new(format!("timer {}", NAMES[which]), libc::SYS_setitimer, args);
            cx.plan.call(Stage::Timers, process.leader(), call);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::timeval;

    #[test]
    fn a_running_timer_stays_armed() {
        assert_eq!(timeval(1), [0, 1]);
        assert_eq!(timeval(1_000_000_000), [1, 0]);
        assert_eq!(timeval(1_999_999_999), [2, 0]);
    }
}
