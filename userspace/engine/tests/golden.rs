// SPDX-License-Identifier: Apache-2.0 OR MIT

//! Records that older crusts wrote keep their meaning: samples of all kinds of records, from real
//! dumps, and what this crust must read from them.
//!
//! `data/records.img` is an image without page data that has one record of each kind and version;
//! `data/records.json` is their meaning. Both only ever grow. A kind that is new, or has a new
//! version, gets its sample from an image that was dumped with it:
//!
//! ```text
//! CRUST_IMAGES="one.img two.img" cargo test -p crust-engine --test golden -- --ignored add_samples
//! ```
//!
//! adds what is missing and keeps what exists. The older version of a kind stays, and
//! `State::upgrade` reads it; if it cannot, then `data/records.json` says so, where the change of
//! that line can be seen. `CRUST_BLESS=1` rewrites `data/records.json` from the samples, for a
//! field with a new name or a description with other words: nothing else may change in it.
//!
//! `data/tree.img` is the whole of one dump (the case `tree`), without page data.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crust_engine::{Inspection, KINDS, Place, inspect};
use crust_image::{Reader, Record, Writer, codec};
use serde_json::{Value, json};

/// The kinds without a sample, and the reason. Each of these is a gap.
///
/// A gap is closed by a case program that dumps the kind on a machine that has what it needs, or by
/// a sample that is [constructed](constructed).
const MISSING: &[(&str, &str)] = &[];

/// Samples of up to this size are preferred, the larger the better: they show more than an empty
/// one.
const LARGE: usize = 2048;

fn data(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    tests.join("data").join(name)
}

fn look(name: &str) -> Inspection {
    inspect(&Place::File(data(name)), false).unwrap()
}

/// Returns the kinds of the registry: name and version, by tag.
fn kinds() -> BTreeMap<u16, (&'static str, u16)> {
    let rows = KINDS.0.iter().map(|kind| kind.row);
    rows.map(|row| (row.tag, (row.name, row.version))).collect()
}

/// Returns what this crust reads from the samples, one line for each.
fn said() -> String {
    let inspection = look("records.img");
    let mut text = String::from("[\n");
    for object in &inspection.objects {
        let line = json!({
            "kind": object.kind,
            "version": object.version,
            "readable": object.readable,
            "what": object.what,
            "state": object.state,
        });
        text.push_str(&format!("{line},\n"));
    }
    // JSON has no comma after the last element.
    text.truncate(text.len() - 2);
    text.push_str("\n]\n");
    text
}

#[test]
fn samples_of_all_kinds_are_read_as_they_were_meant() {
    let now = said();
    let path = data("records.json");
    if std::env::var_os("CRUST_BLESS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    for (golden, now) in golden.lines().zip(now.lines()) {
        assert!(
            golden == now,
            "a sample says something else than it did:\n{golden}\nnow:\n{now}"
        );
    }
    assert_eq!(golden.lines().count(), now.lines().count());
}

#[test]
fn every_kind_has_a_sample_or_a_reason_why_not() {
    let image = Reader::open(data("records.img")).unwrap();
    let records = image.records().iter();
    let samples: BTreeSet<_> = records.map(|record| (record.tag, record.version)).collect();
    let reasons: BTreeMap<_, _> = MISSING.iter().copied().collect();
    let mut without = Vec::new();
    for (tag, (name, version)) in kinds() {
        match (samples.contains(&(tag, version)), reasons.get(name)) {
            (true, None) => {}
            (true, Some(why)) => panic!("there is a sample of {name}, and a reason why not: {why}"),
            (false, Some(_)) => {}
            (false, None) => without.push(format!("{name} ({tag:#06x}, version {version})")),
        }
    }
    assert!(
        without.is_empty(),
        "no sample of {}; userspace/engine/tests/golden.rs tells how to add them",
        without.join(", ")
    );
    let names: BTreeSet<_> = kinds().values().map(|(name, _)| *name).collect();
    for name in reasons.keys() {
        assert!(names.contains(name), "there is no kind {name}");
    }
}

#[test]
fn samples_of_the_present_versions_are_readable() {
    let kinds = kinds();
    let versions: BTreeMap<_, _> = kinds.values().copied().collect();
    for object in look("records.img").objects {
        if versions.get(object.kind.as_str()) == Some(&object.version) {
            assert!(object.readable, "{}: {}", object.kind, object.what);
            assert_ne!(object.state, Value::Null, "{}", object.kind);
        }
    }
}

#[test]
fn all_of_an_older_dump_is_described() {
    let inspection = look("tree.img");
    assert_eq!(inspection.format, "1.0");
    for object in &inspection.objects {
        assert!(object.readable, "{}: {}", object.kind, object.what);
        assert!(!object.what.is_empty(), "{}", object.kind);
    }
    assert!(inspection.processes.len() > 1);
    for process in &inspection.processes {
        assert_eq!(process.name, "tree");
        assert!(!process.threads.is_empty() && !process.descriptors.is_empty());
        for descriptor in &process.descriptors {
            assert!(!descriptor.kind.is_empty() && !descriptor.what.is_empty());
        }
    }
}

/// Opens the images that the user names.
fn images() -> Vec<Reader> {
    let names = std::env::var("CRUST_IMAGES").unwrap_or_default();
    let names = names.split_whitespace();
    names.map(|name| Reader::open(name).unwrap()).collect()
}

/// Writes an image without page data.
fn write(name: &str, records: &[Record]) {
    let mut image = Writer::create(data(name)).unwrap();
    for record in records {
        image.add(record).unwrap();
    }
    image.finish(false).unwrap();
}

/// Makes samples of kinds that could not be dumped, because the machine lacked what they need:
/// security modules, ports, cores with two threads, protection keys, shadow stacks. They are tuples
/// with the fields of the structures as they were when this was written, which bincode encodes in
/// the same way, and not the structures themselves.
fn constructed() -> Vec<Record> {
    let area = (0x7fff_0000_u64, 0x2000_u64, 3_u64);
    let record = |tag, version, body: crust_image::Result<Vec<u8>>| Record {
        tag,
        version,
        owner: 0,
        part: 0,
        body: body.unwrap(),
    };
    let labels = vec![(0_u32, b"one".to_vec()), (3, b"another".to_vec())];
    let ports = vec![(0x70_u32, 2_u32), (0x3f8, 8)];
    let keys = (0b1011_u16, Some(3_u8), vec![(area, 1_u8)]);
    let user = Some((1_u32, 0x7fff_0ff8_u64));
    // As they were in older versions, from git history: a run of pages is its distance to the last one, and its length.
    let runs = vec![(16_u64, 2_u64), (3, 1)];
    let none: Vec<(u64, u64)> = Vec::new();
    let old_pages = (0x3000_u64, runs.clone(), none);
    let old_shared = (77_u64, 0x4000_u64, false, 0x6000_u64, runs);
    let registered = 0xaa_u32;
    let shadow_stack = (area, 0_u64, user, vec![(0x7fff_0ff8_u64, vec![7_u8; 8])]);
    vec![
        record(
            0x0113,
            1,
            codec::encode(&(true, true, Some(0_u64), registered, -5, 0x33_u32)),
        ),
        record(
            0x0113,
            2,
            codec::encode(&(2_u32, false, None::<u64>, registered, -5, 0x33_u32)),
        ),
        record(
            0x0113,
            3,
            codec::encode(&(0_u32, false, None::<u64>, registered, true, -5, 0x33_u32)),
        ),
        record(0x0118, 1, codec::encode(&(4_000_u64, 5_000_u64))),
        record(0x011d, 1, codec::encode(&3_u64)),
        record(0x0220, 1, codec::encode(&old_pages)),
        record(0x0221, 1, codec::encode(&old_shared)),
        record(0x011c, 1, codec::encode(&labels)),
        record(0x011d, 2, codec::encode(&(true, 3_u64))),
        record(0x0128, 1, codec::encode(&ports)),
        record(0x012a, 1, codec::encode(&0x1234_5678_9abc_u64)),
        record(0x0202, 1, codec::encode(&keys)),
        record(0x0218, 1, codec::encode(&vec![shadow_stack])),
    ]
}

#[test]
#[ignore = "changes the samples: see above"]
fn add_samples() {
    let key = |record: &Record| (record.tag, record.version);
    let mut samples = BTreeMap::new();
    let old = data("records.img");
    if old.exists() {
        let records = Reader::open(old).unwrap().records().to_vec();
        samples.extend(records.into_iter().map(|record| (key(&record), record)));
    }
    let there: BTreeSet<_> = samples.keys().copied().collect();
    // Records that say most come first, among those that are not too large.
    let rank = |record: &Record| match record.body.len() {
        length if length <= LARGE => (0, LARGE - length),
        length => (1, length),
    };
    for image in images() {
        for record in image.records() {
            let key = key(record);
            let is_better = |sample: &Record| rank(record) < rank(sample);
            if !there.contains(&key) && samples.get(&key).is_none_or(is_better) {
                samples.insert(key, record.clone());
            }
        }
    }
    for record in constructed() {
        samples.entry(key(&record)).or_insert(record);
    }
    let samples: Vec<_> = samples.into_values().collect();
    write("records.img", &samples);
    fs::write(data("records.json"), said()).unwrap();
}

#[test]
#[ignore = "replaces the image of the tree by the one in CRUST_IMAGES"]
fn strip_tree() {
    write("tree.img", images()[0].records());
}
