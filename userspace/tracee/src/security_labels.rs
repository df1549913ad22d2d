// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The files of `/proc/PID/attr`: the labels that security modules give a thread.

use std::sync::OnceLock;

/// How a security module expects a label to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// The label itself, while the thread still has privileges.
    Smack,
    /// A keyword and the name of the profile.
    AppArmor(&'static str),
    /// The label itself.
    Other,
}

/// A file of `/proc/PID/attr`.
pub struct File {
    /// The path below `attr`.
    pub name: &'static str,
    /// The security module that the file belongs to.
    pub module: Module,
}

const fn file(name: &'static str, module: Module) -> File {
    File { name, module }
}

/// All files that may exist, in the order in which they are written: setting the current label
/// makes a module reset the others.
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

/// Returns the numbers of the files that a security module of this machine uses, each with the
/// label of crust itself.
pub fn own() -> &'static [(usize, Option<Vec<u8>>)] {
    static OWN: OnceLock<Vec<(usize, Option<Vec<u8>>)>> = OnceLock::new();
    OWN.get_or_init(|| {
        let read = |name: &str| std::fs::read(format!("/proc/self/attr/{name}")).ok();
        let current: Vec<_> = ["smack/current", "apparmor/current", "current"]
            .map(read)
            .into();
        // The files that are not in a module's directory belong to one of the modules that have one, or
        // to another module.
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

/// Returns whether a task has the same labels as crust.
pub fn are_ours(proc: &impl std::os::fd::AsFd, task: i32) -> bool {
    let theirs = read(proc, task, ".");
    own()
        .iter()
        .zip(theirs)
        .all(|((_, own), theirs)| *own == theirs)
}

/// Reads the labels of a thread from these files; `None` where it has none.
pub fn read(proc: &impl std::os::fd::AsFd, task: i32, directory: &str) -> Vec<Option<Vec<u8>>> {
    let files = own().iter();
    files
        .map(|&(number, _)| {
            let name = format!("{directory}/attr/{}", FILES[number].name);
            crust_proc::read(proc, task, &name).ok()
        })
        .collect()
}
