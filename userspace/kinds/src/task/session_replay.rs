// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Sessions and process groups on a kernel without the module: which of them `setsid(2)` and `setpgid(2)` can recreate,
//! and in which order.
//!
//! A process starts in the session of its parent, and can only leave it for a new one of its own. So a child that is to
//! be in the session that its parent left must be created before the parent leaves it. A group is created by the
//! process of its number, and joined within its session. If that process has since moved to another group, it creates
//! the group first and moves when the others have joined. If it is dead, as the first command of a pipeline may be,
//! another process is created in its place, which exits when the others have joined.
//!
//! A process whose parent was never in its session is an orphan that was adopted by a subreaper, which its parent is or
//! was. So it is created by another process in that session, which then exits: a child of the session leader or, if
//! that is dead, a process that leads the session in its place.

use std::collections::{BTreeMap, BTreeSet};

/// The place of a process in the tree, its group and its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The pid of the process.
    pub pid: i32,
    /// The index of the parent, which is smaller than its own; `None` for the root.
    pub parent: Option<usize>,
    /// The process group.
    pub pgid: i32,
    /// The session.
    pub sid: i32,
}

impl Place {
    fn leads_session(&self) -> bool {
        self.sid == self.pid
    }
}

/// A session or group that cannot be recreated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The index of the process.
    pub process: usize,
    /// The kind of object.
    pub object: &'static str,
    /// The reason.
    pub why: String,
}

/// Returns the groups that have a member whose parent is in another group of the same session, and so can continue it.
/// All other groups are orphaned, and terminal signals do not stop their processes.
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

/// The way in which sessions and groups are created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionReplay {
    /// For each process, whether it must be created before its parent calls `setsid`.
    pub before: Vec<bool>,
    /// The groups whose creators have moved to another group, each with its creator.
    pub left: Vec<(i32, usize)>,
    /// The groups whose creators are dead, each with one of its members.
    pub orphaned: Vec<(i32, usize)>,
    /// The processes that create orphans.
    pub stand_ins: Vec<StandIn>,
}

/// A process that creates others and exits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// The session of the stand-in.
    pub session: i32,
    /// The leader of this session, which creates the stand-in; if there is none, the stand-in leads the session itself,
    /// and `adopter` creates it.
    pub leader: Option<usize>,
    /// The process that adopts its children.
    pub adopter: usize,
    /// The children that it creates.
    pub children: Vec<usize>,
}

/// Determines how sessions and groups can be created.
///
/// `inherited` is the group and the session in which the root starts and is to stay.
///
/// # Errors
///
/// All sessions and groups that cannot be recreated.
pub fn replay(
    places: &[Place],
    inherited: Option<(i32, i32)>,
) -> std::result::Result<SessionReplay, Vec<Problem>> {
    let mut problems = Vec::new();
    let numbers = places.iter().enumerate();
    let numbers: BTreeMap<i32, usize> = numbers
        .map(|(process, place)| (place.pid, process))
        .collect();
    let mut replay = SessionReplay::default();
    sessions(
        places,
        &numbers,
        inherited.map(|(_, sid)| sid),
        &mut replay,
        &mut problems,
    );
    check_adoptions(places, &replay.stand_ins, &mut problems);
    let mut known = BTreeSet::new();
    for (process, place) in places.iter().enumerate() {
        let group = (place.pgid, place.sid);
        if inherited == Some(group) || !known.insert(group) {
            continue;
        }
        match numbers.get(&place.pgid) {
            Some(&maker) if places[maker].pgid == place.pgid => {}
            Some(&maker) if places[maker].sid == place.sid => replay.left.push((place.pgid, maker)),
            None if place.pgid != place.sid => replay.orphaned.push((place.pgid, process)),
            // The creator of a session also creates its first group, in which all its orphans start.
            None if replay
                .stand_ins
                .iter()
                .any(|stand_in| stand_in.session == place.sid) => {}
            _ => problems.push(Problem {
                process,
                object: "process group",
                why: format!("the process that made group {} has ended", place.pgid),
            }),
        }
    }
    if problems.is_empty() {
        Ok(replay)
    } else {
        Err(problems)
    }
}

/// Determines which processes must be created before their parents leave a session, and which must be orphans.
fn sessions(
    places: &[Place],
    numbers: &BTreeMap<i32, usize>,
    inherited: Option<i32>,
    replay: &mut SessionReplay,
    problems: &mut Vec<Problem>,
) {
    let mut orphans = BTreeSet::new();
    loop {
        let (before, impossible) = births(places, inherited, &orphans);
        replay.before = before;
        let mut is_new = false;
        for (process, session) in impossible {
            if adopt(places, numbers, &mut replay.stand_ins, process, session) {
                is_new |= orphans.insert(process);
            } else {
                problems.push(Problem {
                    process,
                    object: "session",
                    why: format!(
                        "the process that made session {session} has ended, or is not one of its ancestors"
                    ),
                });
            }
        }
        // Without the requirements of the orphans, those of others may be satisfiable.
        if !is_new || !problems.is_empty() {
            return;
        }
    }
}

/// Returns for each process whether it must be created before its parent leaves a session; and the processes that
/// cannot be created in the session in which they must be, with that session. Orphans are created elsewhere.
fn births(
    places: &[Place],
    inherited: Option<i32>,
    orphans: &BTreeSet<usize>,
) -> (Vec<bool>, Vec<(usize, i32)>) {
    // The session in which each must be created, if it matters: known when it is known for all children.
    let mut born_in: Vec<Option<i32>> = places
        .iter()
        .map(|place| (!place.leads_session()).then_some(place.sid))
        .collect();
    // The process that requires it: the process itself or a descendant.
    let mut asker: Vec<usize> = (0..places.len()).collect();
    let mut before = vec![false; places.len()];
    let mut impossible = Vec::new();
    for child in (0..places.len()).rev() {
        let Some(wanted) = born_in[child].filter(|_| !orphans.contains(&child)) else {
            continue;
        };
        let free = match places[child].parent {
            None if inherited == Some(wanted) => continue,
            None => false,
            Some(parent) if wanted == places[parent].sid => continue,
            // A parent that leads a session may have been in this one before.
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
            impossible.push((asker[child], wanted));
        }
    }
    (before, impossible)
}

/// Has a stand-in create a child in a session in which its parent never was. Returns whether the parent can adopt it.
fn adopt(
    places: &[Place],
    numbers: &BTreeMap<i32, usize>,
    stand_ins: &mut Vec<StandIn>,
    child: usize,
    session: i32,
) -> bool {
    let Some(parent) = places[child].parent else {
        return false;
    };
    let leader = match numbers.get(&session) {
        None => None,
        Some(&leader) if places[leader].leads_session() => Some(leader),
        Some(_) => return false,
    };
    if leader.is_some_and(|leader| !ancestors(places, leader).any(|above| above == parent)) {
        return false;
    }
    match stand_ins
        .iter_mut()
        .find(|stand_in| stand_in.session == session)
    {
        None => stand_ins.push(StandIn {
            session,
            leader,
            adopter: parent,
            children: vec![child],
        }),
        Some(stand_in) if stand_in.adopter == parent => stand_in.children.insert(0, child),
        // One of them would have to adopt from below the other.
        Some(_) => return false,
    }
    true
}

/// Returns the ancestors of a process, the nearest first.
fn ancestors(places: &[Place], process: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(places[process].parent, |&above| places[above].parent)
}

/// Checks that orphans get their adopters: an orphan goes to the nearest of its ancestors that adopts at all.
fn check_adoptions(places: &[Place], stand_ins: &[StandIn], problems: &mut Vec<Problem>) {
    let adopters: BTreeSet<usize> = stand_ins.iter().map(|stand_in| stand_in.adopter).collect();
    for stand_in in stand_ins {
        let Some(leader) = stand_in.leader else {
            continue;
        };
        let mut above = std::iter::once(leader).chain(ancestors(places, leader));
        let next = above.find(|process| adopters.contains(process));
        if next != Some(stand_in.adopter) {
            problems.push(Problem {
                process: stand_in.children[0],
                object: "session",
                why: "several of its ancestors have adopted orphans".into(),
            });
        }
    }
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
        assert_eq!(replay(&places, None).unwrap().before, [false; 4]);
    }

    #[test]
    fn a_child_made_before_its_parent_left_the_session() {
        let places = [
            place(10, None, 10, 10),
            place(11, Some(0), 11, 11),
            place(12, Some(1), 10, 10),
            place(13, Some(1), 11, 11),
        ];
        let replay = replay(&places, None).unwrap();
        assert_eq!(replay.before, [false, false, true, false]);
        assert!(replay.left.is_empty() && replay.orphaned.is_empty());
    }

    #[test]
    fn a_dead_leader() {
        let places = [place(10, None, 10, 10), place(12, Some(0), 11, 11)];
        let stand_in = StandIn {
            session: 11,
            leader: None,
            adopter: 0,
            children: vec![1],
        };
        assert_eq!(replay(&places, None).unwrap().stand_ins, [stand_in]);
    }

    #[test]
    fn an_orphan_of_a_session_that_is_led() {
        let mut places = vec![
            place(10, None, 10, 10),
            place(11, Some(0), 11, 10),
            place(12, Some(1), 12, 12),
            place(13, Some(0), 12, 12),
        ];
        let stand_in = StandIn {
            session: 12,
            leader: Some(2),
            adopter: 0,
            children: vec![3],
        };
        assert_eq!(replay(&places, None).unwrap().stand_ins, [stand_in]);
        // The one between them adopts for another session, and would adopt this one too.
        places.push(place(15, Some(1), 14, 14));
        assert_eq!(replay(&places, None).unwrap_err()[0].process, 3);
    }

    #[test]
    fn a_root_that_is_an_orphan() {
        let places = [place(10, None, 9, 9), place(12, Some(0), 9, 9)];
        let problems = replay(&places, None).unwrap_err();
        assert!(problems.iter().any(|problem| problem.object == "session"));
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
        assert!(replay(&places, Some((5, 4))).is_ok());
        assert!(replay(&places, None).is_err());
    }

    #[test]
    fn a_group_whose_maker_went_to_another() {
        let places = [
            place(10, None, 10, 10),
            place(11, Some(0), 10, 10),
            place(12, Some(0), 11, 10),
        ];
        let replay = replay(&places, None).unwrap();
        assert_eq!((replay.left, replay.orphaned), (vec![(11, 1)], vec![]));
    }

    #[test]
    fn a_pipeline_whose_first_command_has_ended() {
        let places = [
            place(10, None, 10, 10),
            place(12, Some(0), 11, 10),
            place(13, Some(0), 11, 10),
        ];
        let replay = replay(&places, None).unwrap();
        assert_eq!((replay.left, replay.orphaned), (vec![], vec![(11, 1)]));
    }
}
