// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sessions and process groups on a kernel without the module: which can be had by `setsid(2)` and
//! `setpgid(2)`, and in which order.
//!
//! A process begins in the session of its parent, and can only leave it for one of its own. So a
//! child that is to be in the session that its parent left must be made before the parent leaves
//! it. Groups are made by the process of their number, and joined within their session.

use std::collections::BTreeSet;

/// Where a process is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number.
    pub pid: i32,
    /// The index of its parent, which is smaller than its own; `None` for the root.
    pub parent: Option<usize>,
    /// Its group.
    pub pgid: i32,
    /// Its session.
    pub sid: i32,
}

impl Place {
    fn leads_session(&self) -> bool {
        self.sid == self.pid
    }
}

/// What cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The index of the process.
    pub process: usize,
    /// What it is about.
    pub object: &'static str,
    /// Why.
    pub why: String,
}

/// The groups that have a member whose parent is in another group of the same session: somebody who can let it go
/// on. All others are orphaned, and signals of the terminal do not stop their processes.
pub fn kept_groups(places: &[Place]) -> BTreeSet<i32> {
    let is_kept = |place: &&Place| {
        place.parent.is_some_and(|parent| {
            let parent = &places[parent];
            parent.pgid != place.pgid && parent.sid == place.sid
        })
    };
    places
        .iter()
        .filter(is_kept)
        .map(|place| place.pgid)
        .collect()
}

/// For each process whether it must be made before its parent calls `setsid`.
///
/// `inherited` is the group and the session that the root begins in and is to be in.
///
/// # Errors
///
/// All that cannot be had.
pub fn replay(
    places: &[Place],
    inherited: Option<(i32, i32)>,
) -> std::result::Result<Vec<bool>, Vec<Problem>> {
    let mut problems = Vec::new();
    let before = sessions(places, inherited.map(|(_, sid)| sid), &mut problems);
    let led: BTreeSet<_> = places
        .iter()
        .filter(|place| place.pgid == place.pid)
        .map(|place| (place.pgid, place.sid))
        .collect();
    for (process, place) in places.iter().enumerate() {
        let group = (place.pgid, place.sid);
        if inherited != Some(group) && !led.contains(&group) {
            problems.push(Problem {
                process,
                object: "process group",
                why: format!(
                    "the process that made group {} is not in it any more",
                    place.pgid
                ),
            });
        }
    }
    if problems.is_empty() {
        Ok(before)
    } else {
        Err(problems)
    }
}

fn sessions(places: &[Place], inherited: Option<i32>, problems: &mut Vec<Problem>) -> Vec<bool> {
    // In which session each must be made, if it matters: known when all its children are.
    let mut born_in: Vec<Option<i32>> = places
        .iter()
        .map(|place| (!place.leads_session()).then_some(place.sid))
        .collect();
    // For whose sake: a descendant's, if not its own.
    let mut asker: Vec<usize> = (0..places.len()).collect();
    let mut before = vec![false; places.len()];
    for child in (0..places.len()).rev() {
        let Some(wanted) = born_in[child] else {
            continue;
        };
        let free = match places[child].parent {
            None if inherited == Some(wanted) => continue,
            None => false,
            Some(parent) if wanted == places[parent].sid => continue,
            // A parent that leads a session can have been in this one before.
            Some(parent) => {
                before[child] = true;
                let asks = asker[child];
                let session = *born_in[parent].get_or_insert_with(|| {
                    asker[parent] = asks;
                    wanted
                });
                session == wanted
            }
        };
        if !free {
            problems.push(Problem {
                process: asker[child],
                object: "session",
                why: format!(
                    "the process that made session {wanted} is gone, or none of its ancestors"
                ),
            });
        }
    }
    before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(pid: i32, parent: Option<usize>, pgid: i32, sid: i32) -> Place {
        Place {
            pid,
            parent,
            pgid,
            sid,
        }
    }

    #[test]
    fn a_daemon_with_a_child_in_a_session_of_its_own() {
        let places = [
            place(10, None, 10, 10),
            place(11, Some(0), 11, 10),
            place(12, Some(1), 12, 12),
            place(13, Some(0), 11, 10),
        ];
        assert_eq!(replay(&places, None), Ok(vec![false; 4]));
    }

    #[test]
    fn a_child_made_before_its_parent_left_the_session() {
        let places = [
            place(10, None, 10, 10),
            place(11, Some(0), 11, 11),
            place(12, Some(1), 10, 10),
            place(13, Some(1), 11, 11),
        ];
        let before = replay(&places, None).unwrap();
        assert_eq!(before, [false, false, true, false]);
    }

    #[test]
    fn a_dead_leader() {
        let places = [place(10, None, 10, 10), place(12, Some(0), 11, 11)];
        let problems = replay(&places, None).unwrap_err();
        // Its session and its group.
        assert_eq!(problems.len(), 2);
        assert!(problems.iter().all(|problem| problem.process == 1));
    }

    #[test]
    fn groups_that_somebody_looks_after() {
        let places = [
            place(10, None, 10, 10),
            place(11, Some(0), 11, 10),
            place(12, Some(1), 11, 10),
            place(13, Some(0), 13, 13),
            place(14, Some(0), 10, 10),
        ];
        assert_eq!(kept_groups(&places), BTreeSet::from([11]));
    }

    #[test]
    fn a_shell_job() {
        let places = [place(10, None, 5, 4), place(11, Some(0), 11, 4)];
        assert_eq!(replay(&places, Some((5, 4))), Ok(vec![false; 2]));
        assert!(replay(&places, None).is_err());
    }

    #[test]
    fn a_group_whose_maker_went_to_another() {
        let places = [
            place(10, None, 10, 10),
            place(11, Some(0), 10, 10),
            place(12, Some(0), 11, 10),
        ];
        let problems = replay(&places, None).unwrap_err();
        assert_eq!(problems[0].object, "process group");
    }
}
