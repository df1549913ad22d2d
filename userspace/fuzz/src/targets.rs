// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What is fuzzed.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use crust_hooks::KernelFeatures;
use crust_image::{Reader, Record};
use crust_kinds::descriptor::lock;
use crust_kinds::file::inotify::fdinfo;
use crust_kinds::plan_context::{PlanCx, RestoreOptions};
use crust_kinds::registry::{self, KINDS};
use crust_model::plan::Offsets;
use crust_model::refusal::Refusals;
use crust_proc::{Fields, Stat, smaps};

/// Something that reads what crust did not write itself.
pub struct Target {
    /// The name of the target.
    pub name: &'static str,
    /// Returns real inputs, of which others are made.
    pub seeds: fn() -> Result<Vec<Vec<u8>>>,
    /// Reads an input; must not panic.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 4] = [
    Target {
        name: "container",
        seeds: images,
        run: container,
    },
    Target {
        name: "decoders",
        seeds: records,
        run: decoder,
    },
    Target {
        name: "plans",
        seeds: replacements,
        run: plan,
    },
    Target {
        name: "parsers",
        seeds: proc_files,
        run: parsers,
    },
];

/// The golden images of the engine.
fn images() -> Result<Vec<Vec<u8>>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tests/data");
    ["records.img", "tree.img"]
        .iter()
        .map(|name| fs::read(data.join(name)).with_context(|| format!("read {name}")))
        .collect()
}

/// Reads an image as it comes from a stream.
fn container(mut input: &[u8]) {
    if let Ok(image) = Reader::receive(&mut input, "input") {
        let _ = image.verify_pages();
        for offset in [0, 4096, u64::MAX] {
            let _ = image.has_pages(offset, u64::MAX);
        }
    }
}

/// The records of the golden images; tag and version stand before the body.
fn records() -> Result<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for image in images()? {
        let image = Reader::receive(&mut &image[..], "golden image")?;
        for record in image.records() {
            let mut input = Vec::from(record.tag.to_le_bytes());
            input.extend(record.version.to_le_bytes());
            input.extend(&record.body);
            all.push(input);
        }
    }
    Ok(all)
}

/// Decodes a record of any kind, and says all that there is to say of it.
fn decoder(input: &[u8]) {
    let Some((head, body)) = input.split_at_checked(4) else {
        return;
    };
    let record = Record {
        tag: u16::from_le_bytes([head[0], head[1]]),
        version: u16::from_le_bytes([head[2], head[3]]),
        owner: 1,
        part: 2,
        body: body.to_vec(),
    };
    let Some(kind) = KINDS.get(record.tag) else {
        return;
    };
    if let Ok(state) = (kind.row.decode)(&record) {
        let _ = (state.describe(), state.json(), state.extents());
    }
}

/// The records of a whole tree.
fn tree() -> &'static [Record] {
    static TREE: OnceLock<Vec<Record>> = OnceLock::new();
    TREE.get_or_init(|| {
        let image = images().ok().and_then(|images| images.into_iter().nth(1));
        let image = image.expect("the golden image of a tree is there");
        let image = Reader::receive(&mut &image[..], "golden image").expect("it is whole");
        image.records().to_vec()
    })
}

/// For each record of a tree, its index and its body: what it is replaced with.
fn replacements() -> Result<Vec<Vec<u8>>> {
    let with_index =
        |(index, record): (u16, &Record)| [&index.to_le_bytes()[..], &record.body].concat();
    Ok((0..).zip(tree()).map(with_index).collect())
}

/// Plans a tree, one of whose records is another than it was.
fn plan(input: &[u8]) {
    let Some((index, body)) = input.split_at_checked(2) else {
        return;
    };
    let mut records = tree().to_vec();
    let index = usize::from(u16::from_le_bytes([index[0], index[1]])) % records.len();
    records[index].body = body.to_vec();
    let Ok(image) = KINDS.decode(&records, &mut Refusals::default()) else {
        return;
    };
    for set_ids in [false, true] {
        let features = KernelFeatures {
            set_ids,
            ..KernelFeatures::default()
        };
        let options = RestoreOptions::default();
        let mut cx = PlanCx::new(&image, features, &options, (1, 1));
        let _ = registry::plan(&mut cx);
    }
}

/// What the kernel says of this process; the number of the parser stands before it.
fn proc_files() -> Result<Vec<Vec<u8>>> {
    let inotify = "inotify wd:3 ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 \
                   f_handle:7e9e0000640d1b6d\n";
    let lock = "lock:\t1: POSIX  ADVISORY  WRITE 1234 08:01:5678 0 EOF";
    let file = |name: &str| {
        let path = format!("/proc/self/{name}");
        fs::read(&path).with_context(|| format!("read {path}"))
    };
    let texts = [
        file("stat")?,
        file("status")?,
        file("smaps")?,
        file("timens_offsets").unwrap_or_else(|_| b"monotonic 1 2\nboottime 3 4\n".to_vec()),
        inotify.into(),
        lock.into(),
    ];
    let with_number = |(number, text): (u8, Vec<u8>)| [vec![number], text].concat();
    Ok((0..).zip(texts).map(with_number).collect())
}

/// Parses a text as one of the files.
fn parsers(input: &[u8]) {
    let Some((number, bytes)) = input.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    match number % 6 {
        0 => {
            if let Some(stat) = Stat::parse(bytes) {
                for field in 0..60 {
                    let _ = (stat.field(field), stat.signed(field));
                }
            }
        }
        1 => {
            let fields = Fields::new(text.into_owned());
            for name in ["Uid", "Groups", "SigBlk", "NSpid", "Threads"] {
                let _ = (fields.number(name), fields.numbers(name), fields.hex(name));
            }
        }
        2 => {
            for vma in smaps::parse(bytes).unwrap_or_default() {
                let _ = (vma.length(), vma.title(), vma.entry());
            }
        }
        3 => drop(Offsets::parse(&text)),
        4 => drop(fdinfo::marks(&text)),
        _ => drop(lock::parse(&text)),
    }
}
