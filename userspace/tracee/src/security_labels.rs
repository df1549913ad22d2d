// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The files of `/proc/PID/attr`: what security modules tell of a thread.

use std::sync::OnceLock;

/// How a module wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// With the label itself, while there are privileges.
    Smack,
    /// With a word and the name of the profile.
    AppArmor(&'static str),
    /// With the label itself.
    Other,
}

/// A file of `/proc/PID/attr`.
pub struct File {
    /// Below `attr`.
    pub name: &'static str,
    /// Whose it is.
    pub module: Module,
}

const fn file(name: &'static str, module: Module) -> File {
    File { name, module }
}

/// All that there may be, in the order in which they are written: a new label of the thread makes a module
/// forget the others.
pub const FILES: [File; 8] = [
    file("smack/current", Module::Smack),
    file("apparmor/current", Module::AppArmor("changeprofile ")),
    file("apparmor/exec", Module::AppArmor("exec ")),
    file("current", Module::Other),
    file("exec", Module::Other),
    file("fscreate", Module::Other),
    file("keycreate", Module::Other),
    file("sockcreate", Module::Other),
];

/// The numbers of the files that a module of this machine has something in, each with what crust has
/// there.
pub fn own() -> &'static [(usize, Option<Vec<u8>>)] {
    static OWN: OnceLock<Vec<(usize, Option<Vec<u8>>)>> = OnceLock::new();
    OWN.get_or_init(|| {
        let read = |name: &str| std::fs::read(format!("/proc/self/attr/{name}")).ok();
        let current: Vec<_> = ["smack/current", "apparmor/current", "current"]
            .map(read)
            .into();
        // The files without a name of a module are those of one that has files of its own, or of another.
        let [smack, apparmor, plain] = [0, 1, 2].map(|n: usize| current[n].is_some());
        let is_other = plain && current[2] != current[0] && current[2] != current[1];
        let has = |file: &File| match file.module {
            Module::Smack => smack,
            Module::AppArmor(_) => apparmor,
            Module::Other => is_other,
        };
        FILES
            .iter()
            .enumerate()
            .filter(|(_, file)| has(file))
            .map(|(number, file)| (number, read(file.name)))
            .collect()
    })
}

/// Whether a task has the labels of crust.
pub fn are_ours(proc: &impl std::os::fd::AsFd, task: i32) -> bool {
    let theirs = read(proc, task, ".");
    own()
        .iter()
        .zip(theirs)
        .all(|((_, own), theirs)| *own == theirs)
}

/// What a thread has in these files; `None` where it has nothing.
pub fn read(proc: &impl std::os::fd::AsFd, task: i32, directory: &str) -> Vec<Option<Vec<u8>>> {
    let files = own().iter();
    files
        .map(|&(number, _)| {
            let name = format!("{directory}/attr/{}", FILES[number].name);
            crust_proc::read(proc, task, &name).ok()
        })
        .collect()
}
