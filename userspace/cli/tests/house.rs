// SPDX-License-Identifier: Apache-2.0 OR MIT

//! The dependency rules of the workspace: which modules may use which others. Cargo ensures that
//! crates do not depend on each other in a cycle; within a crate, the modules at its root (a file,
//! or a folder with everything in it) must not do so either.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// For each module at the root of a crate, those at its root that it uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

fn crates() -> Vec<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut all: Vec<PathBuf> = fs::read_dir(workspace)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").is_file() && path.join("src").is_dir())
        .collect();
    all.sort();
    all
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.ends_with("tests.rs") {
            // Tests may use what they like.
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
    all
}

/// The path of a module, by its file: `memory/pages/mod.rs` is `["memory", "pages"]`.
fn module(source: &Path, file: &Path) -> Vec<String> {
    let path = file.strip_prefix(source).unwrap().with_extension("");
    let mut names: Vec<String> = path
        .iter()
        .map(|name| name.to_str().unwrap().to_owned())
        .collect();
    if names
        .last()
        .is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str()))
    {
        names.pop();
    }
    names
}

/// Without comments and without the tests, which may use what they like.
fn code(text: &str) -> String {
    let end = text.match_indices("#[cfg(test)]\n").find_map(|(at, line)| {
        let module = text[at + line.len()..].lines().next().unwrap();
        module.ends_with("mod tests {").then_some(at)
    });
    let text = &text[..end.unwrap_or(text.len())];
    let lines = text.lines();
    lines
        .map(|line| line.split("//").next().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The names at the root of the crate that a file uses: by `crate::name`, `crate::{name, ...}`, or `super::name` where
/// that leads to the root.
fn used(code: &str, depth: usize) -> BTreeSet<String> {
    let root = match depth {
        0 => "self::".to_owned(),
        depth => "super::".repeat(depth),
    };
    let mut names = BTreeSet::new();
    for start in ["crate::", &root] {
        for (at, _) in code.match_indices(start) {
            let is_whole = code[..at]
                .chars()
                .next_back()
                .is_none_or(|before| !before.is_alphanumeric() && before != ':' && before != '_');
            if is_whole {
                names.extend(heads(&code[at + start.len()..]));
            }
        }
    }
    names
}

/// The first name of a path, or those of a list of paths in braces.
fn heads(path: &str) -> Vec<String> {
    let name = |text: &str| {
        let text = text.trim_start();
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
        text[..end.unwrap_or(text.len())].to_owned()
    };
    let Some(list) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let mut heads = Vec::new();
    let (mut depth, mut start) = (1, 0);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && letter == ',') {
            heads.push(name(&list[start..at]));
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

fn uses(source: &Path) -> Uses {
    let files: Vec<_> = sources(source)
        .into_iter()
        .map(|file| (module(source, &file), file))
        .collect();
    let roots: BTreeSet<&String> = files
        .iter()
        .filter_map(|(names, _)| names.first())
        .collect();
    let mut uses = Uses::new();
    for (names, file) in &files {
        let Some(first) = names.first() else {
            // The root of the crate declares all of them.
            continue;
        };
        let code = code(&fs::read_to_string(file).unwrap());
        let others = used(&code, names.len())
            .into_iter()
            .filter(|name| name != first && roots.contains(name));
        uses.entry(first.clone()).or_default().extend(others);
    }
    uses
}

/// A circle of modules, if there is one: takes away those that use no other that is left, until nothing changes.
fn circle(mut uses: Uses) -> Vec<String> {
    loop {
        let left: BTreeSet<String> = uses.keys().cloned().collect();
        uses.retain(|_, others| others.iter().any(|other| left.contains(other)));
        if uses.len() == left.len() {
            return left.into_iter().collect();
        }
    }
}

#[test]
fn modules_use_each_other_in_one_direction() {
    let crates = crates();
    assert!(crates.len() > 5, "{crates:?}");
    for path in crates {
        let circle = circle(uses(&path.join("src")));
        assert!(circle.is_empty(), "{}: {circle:?}", path.display());
    }
}

#[test]
fn a_circle_is_found() {
    let one = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let mut uses = Uses::from([
        ("a".into(), one(&["b"])),
        ("b".into(), one(&["c"])),
        ("c".into(), one(&[])),
    ]);
    assert!(circle(uses.clone()).is_empty());
    uses.insert("c".into(), one(&["a"]));
    assert_eq!(circle(uses), ["a", "b", "c"]);

    let code = code(
        "use crate::x::{self, Y}; use crate::{p::Q, r}; // crate::no\nlet a = super::super::s();",
    );
    let used: Vec<String> = used(&code, 2).into_iter().collect();
    assert_eq!(used, ["p", "r", "s", "x"]);
}

#[test]
fn only_one_crate_has_unsafe_code() {
    for path in crates() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let root = ["lib.rs", "main.rs"].map(|name| path.join("src").join(name));
        let root = root.iter().find(|root| root.is_file()).unwrap();
        let text = fs::read_to_string(root).unwrap();
        let forbids = text.contains("#![forbid(unsafe_code)]");
        assert_eq!(forbids, name != "sys", "{name}");
    }
}
