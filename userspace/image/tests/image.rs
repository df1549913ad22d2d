// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An image comes back as it was written, or is refused: nothing in between.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crust_image::{Error, MAX_RECORDS, MAX_STATE, Reader, Record, Writer, pages};
use proptest::prelude::*;
use tempfile::TempDir;

fn records() -> Vec<Record> {
    vec![
        Record {
            tag: 0x0101,
            version: 1,
            owner: 0,
            part: 0,
            body: b"first".to_vec(),
        },
        Record {
            tag: 0xffff,
            version: 0x0203,
            owner: 0x0405_0607,
            part: 0x0809_0a0b,
            body: vec![],
        },
        Record {
            tag: 0x0301,
            version: 2,
            owner: 1,
            part: 3,
            body: (0..=255).collect(),
        },
    ]
}

/// Writes two runs of pages, one of which is not a whole number of pages, and the records above.
fn write(path: &Path) {
    let mut image = Writer::create(path).unwrap();
    for (length, byte) in [(8192, 0xa5), (100, 0x5a)] {
        let data = vec![byte; length];
        let offset = image.reserve_pages(length as u64);
        image.file().write_all_at(&data, offset).unwrap();
        image.sum_pages(offset, length as u64, pages::checksum(&data));
    }
    for record in records() {
        image.add(&record).unwrap();
    }
    let done = image.finish(true).unwrap();
    assert_eq!(done.page_bytes, 3 * 4096);
    assert_eq!(done.bytes, fs::metadata(path).unwrap().len());
}

fn image() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("crust.img");
    write(&path);
    (directory, path)
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Overwrites the header with a changed number and a correct checksum.
fn forge(path: &Path, offset: usize, bytes: &[u8]) {
    let mut head = fs::read(path).unwrap()[..48].to_vec();
    head[offset..offset + bytes.len()].copy_from_slice(bytes);
    let checksum = crc32fast::hash(&head);
    head.extend(checksum.to_le_bytes());
    overwrite(path, 0, &head);
}

#[test]
fn what_is_no_regular_file_is_no_image() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [directory.path(), &pipe, Path::new("/dev/null")] {
        let error = Reader::open(path).unwrap_err();
        assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
    }
}

#[test]
fn comes_back_as_it_was_written() {
    let (_directory, path) = image();
    let image = Reader::open(&path).unwrap();
    assert_eq!(image.records(), records());
    assert_eq!(image.page_bytes(), 3 * 4096);
    assert_eq!(image.verify_pages().unwrap(), 8192 + 100);
    let mut page = [0; 4096];
    image.file().read_exact_at(&mut page, 4096 * 2).unwrap();
    assert_eq!(page, [0xa5; 4096]);
}

#[test]
fn an_image_without_anything_is_an_image() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("empty");
    Writer::create(&path).unwrap().finish(false).unwrap();
    let image = Reader::open(&path).unwrap();
    assert_eq!((image.records(), image.length()), (&[][..], 4096));
}

#[test]
fn only_its_owner_may_read_it() {
    let (_directory, path) = image();
    assert_eq!(
        fs::metadata(path).unwrap().permissions().mode() & 0o7777,
        0o600
    );
}

#[test]
fn an_unfinished_image_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("crust.img");
    let mut image = Writer::create(&path).unwrap();
    image.add(&records()[0]).unwrap();
    drop(image);
    assert_eq!(names(&directory), [""; 0]);
}

#[test]
fn an_old_image_stays_until_the_new_one_is_complete() {
    let (directory, path) = image();
    let old = fs::read(&path).unwrap();
    let mut image = Writer::create(&path).unwrap();
    image.reserve_pages(4096);
    assert_eq!(fs::read(&path).unwrap(), old);
    image.finish(false).unwrap();
    assert_eq!(Reader::open(&path).unwrap().page_bytes(), 4096);
    assert_eq!(names(&directory), ["crust.img"]);
}

#[test]
fn what_is_no_file_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    assert!(Writer::create(directory.path()).is_err());
    assert!(Writer::create("/dev/null").is_err());
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("elsewhere", &link).unwrap();
    assert!(Writer::create(&link).is_err());
    let error = Writer::create(directory.path().join("no/crust.img")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("no/crust.img: create: No such file")
    );
}

#[test]
fn a_cut_off_image_is_refused_wherever_it_is_cut() {
    let (_directory, path) = image();
    let whole = fs::metadata(&path).unwrap().len();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for length in (0..whole).rev() {
        file.set_len(length).unwrap();
        match Reader::open(&path).unwrap_err() {
            Error::Damaged { .. } => {}
            Error::NotAnImage { .. } if length == 0 => {}
            error => panic!("cut to {length} of {whole} bytes: {error}"),
        }
    }
}

#[test]
fn bytes_behind_the_end_are_refused() {
    let (_directory, path) = image();
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"x").unwrap();
    let error = Reader::open(&path).unwrap_err().to_string();
    assert!(error.contains("bytes follow the end"), "{error}");
}

#[test]
fn an_image_comes_through_a_stream() {
    let (_directory, path) = image();
    let bytes = fs::read(&path).unwrap();
    // In parts, as a pipe would deliver it.
    let mut stream: Box<dyn Read> = Box::new(std::io::empty());
    for part in bytes.chunks(1000) {
        stream = Box::new(stream.chain(part));
    }
    let received = Reader::receive(&mut stream, "standard input").unwrap();
    assert_eq!(received.path(), Path::new("standard input"));
    assert_eq!(received.records(), records());
    assert_eq!(received.length(), bytes.len() as u64);
    assert_eq!(received.verify_pages().unwrap(), 8192 + 100);
}

#[test]
fn an_image_that_is_to_be_sent_is_whole_in_a_file_without_a_name() {
    let mut image = Writer::unnamed().unwrap();
    let offset = image.reserve_pages(4096);
    image.file().write_all_at(&[7; 4096], offset).unwrap();
    image.add(&records()[0]).unwrap();
    let (finished, file) = image.finish_unnamed().unwrap();
    let mut bytes = vec![0; finished.bytes as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(file.metadata().unwrap().len(), finished.bytes);
    let received = Reader::receive(&mut &bytes[..], "a pipe").unwrap();
    assert_eq!(received.records(), &records()[..1]);
}

#[test]
fn a_stream_that_ends_early_is_refused_wherever_it_ends() {
    let (_directory, path) = image();
    let bytes = fs::read(&path).unwrap();
    let places = (0..100).chain((100..bytes.len()).step_by(997));
    for length in places.chain(bytes.len() - 100..bytes.len()) {
        let error = Reader::receive(&mut &bytes[..length], "a pipe").unwrap_err();
        match error {
            Error::Damaged { offset, .. } => assert_eq!(offset, length as u64),
            Error::NotAnImage { .. } if length == 0 => {}
            error => panic!("{length} of {} bytes: {error}", bytes.len()),
        }
    }
}

#[test]
fn a_stream_is_not_kept_beyond_the_end_of_the_image() {
    let (_directory, path) = image();
    let mut stream = fs::read(&path).unwrap();
    stream.push(0);
    let error = Reader::receive(&mut &stream[..], "a pipe").unwrap_err();
    assert!(
        error.to_string().contains("bytes follow the end"),
        "{error}"
    );
    // This stream would never end.
    let error = Reader::receive(&mut std::io::repeat(0), "a pipe").unwrap_err();
    assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
}

#[test]
fn records_of_a_newer_format_are_handed_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("newer");
    let newer: Vec<_> = [(0x0001, 2), (0x0002, 1)]
        .map(|(tag, version)| Record {
            tag,
            version,
            owner: 0,
            part: 0,
            body: b"what is not known".to_vec(),
        })
        .into();
    let mut image = Writer::create(&path).unwrap();
    for record in &newer {
        image.add(record).unwrap();
    }
    image.finish(false).unwrap();
    assert_eq!(Reader::open(&path).unwrap().records(), newer);
}

#[test]
fn every_changed_bit_of_header_and_records_is_found() {
    let (_directory, path) = image();
    let bytes = fs::read(&path).unwrap();
    for offset in (0..52).chain(4 * 4096..bytes.len()) {
        for bit in 0..8 {
            overwrite(&path, offset as u64, &[bytes[offset] ^ 1 << bit]);
            Reader::open(&path).expect_err("a changed bit");
        }
        overwrite(&path, offset as u64, &bytes[offset..=offset]);
    }
    Reader::open(&path).unwrap();
}

#[test]
fn changed_page_data_is_found_on_request() {
    let (_directory, path) = image();
    overwrite(&path, 4096 + 8191, &[0]);
    let error = Reader::open(&path).unwrap().verify_pages().unwrap_err();
    assert!(
        error.to_string().contains("damaged at byte 4096"),
        "{error}"
    );
}

#[test]
fn another_file_is_called_that() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("other");
    for content in [&b""[..], b"x", b"\x7fELF and more", &[0; 9000]] {
        fs::write(&path, content).unwrap();
        let error = Reader::open(&path).unwrap_err();
        assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
    }
    let error = Reader::open(directory.path()).unwrap_err();
    assert!(matches!(error, Error::NotAnImage { .. }), "{error}");
}

#[test]
fn versions_machines_and_page_sizes_that_are_not_ours_are_named() {
    for (offset, value, said) in [
        (8, 2_u16, "the format is 2.0, this crust reads 1.x"),
        (12, 183, "ELF machine 183"),
        (16, 16384, "pages of 16384 bytes"),
    ] {
        let (_directory, path) = image();
        forge(&path, offset, &value.to_le_bytes());
        let error = Reader::open(&path).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
    // A larger minor version is read.
    let (_directory, path) = image();
    forge(&path, 10, &7_u16.to_le_bytes());
    assert_eq!(Reader::open(&path).unwrap().version(), (1, 7));
}

#[test]
fn lengths_that_would_exhaust_memory_are_refused() {
    for (offset, value) in [
        (24, 0),
        (24, 4097),
        (24, !4095),
        (32, MAX_RECORDS + 1),
        (32, u64::MAX),
        (40, u64::MAX),
    ] {
        let (_directory, path) = image();
        forge(&path, offset, &value.to_le_bytes());
        let error = Reader::open(&path).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
    // A sparse file makes the claimed length true.
    let (_directory, path) = image();
    let length = MAX_RECORDS + (1 << 30);
    forge(&path, 32, &length.to_le_bytes());
    let mut file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(4 * 4096 + length).unwrap();
    file.rewind().unwrap();
    let error = Reader::open(&path).unwrap_err().to_string();
    assert!(error.contains("more records than"), "{error}");
}

#[test]
fn a_record_that_is_too_large_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut image = Writer::create(directory.path().join("crust.img")).unwrap();
    let mut record = records().remove(0);
    record.body = vec![0; MAX_STATE + 1];
    let error = image.add(&record).unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
}

/// The bytes of the format must stay the same: an image that was written by an older crust is
/// readable as long as the major version is the same. If this fails, either the change is a mistake
/// or the version has to change. `CRUST_BLESS=1` rewrites the file.
#[test]
fn the_format_stays() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/format-1.0.img");
    let (_directory, path) = image();
    if std::env::var_os("CRUST_BLESS").is_some() {
        fs::copy(&path, &golden).unwrap();
    }
    let expected = fs::read(&golden).unwrap();
    assert!(
        fs::read(&path).unwrap() == expected,
        "an image is written otherwise than by format 1.0"
    );
    let image = Reader::open(&golden).unwrap();
    assert_eq!(image.records(), records());
    assert_eq!(image.verify_pages().unwrap(), 8192 + 100);
}

fn any_record() -> impl Strategy<Value = Record> {
    (
        0x0100..=u16::MAX,
        any::<u16>(),
        any::<u32>(),
        any::<u32>(),
        prop::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|(tag, version, owner, part, body)| Record {
            tag,
            version,
            owner,
            part,
            body,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_records_and_pages_come_back(
        records in prop::collection::vec(any_record(), 0..20),
        runs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..10_000), 0..6),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("crust.img");
        let mut image = Writer::create(&path).unwrap();
        for record in &records {
            image.add(record).unwrap();
        }
        let mut offsets = Vec::new();
        for run in &runs {
            let offset = image.reserve_pages(run.len() as u64);
            image.file().write_all_at(run, offset).unwrap();
            image.sum_pages(offset, run.len() as u64, pages::checksum(run));
            offsets.push(offset);
        }
        image.finish(false).unwrap();

        let image = Reader::open(&path).unwrap();
        prop_assert_eq!(image.records(), records);
        for (run, offset) in runs.iter().zip(offsets) {
            prop_assert!(image.has_pages(offset, run.len() as u64));
            let mut read = vec![0; run.len()];
            image.file().read_exact_at(&mut read, offset).unwrap();
            prop_assert_eq!(&read, run);
        }
        let total: usize = runs.iter().map(Vec::len).sum();
        prop_assert_eq!(image.verify_pages().unwrap(), total as u64);
    }

    #[test]
    fn no_file_makes_the_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        offset in 0_usize..200,
    ) {
        // Random records behind a correct header: the frames must withstand them by themselves.
        let (_directory, path) = image();
        let mut content = fs::read(&path).unwrap();
        let at = 4 * 4096 + offset;
        for (there, byte) in content[at..].iter_mut().zip(&bytes) {
            *there = *byte;
        }
        let changed = content != fs::read(&path).unwrap();
        fs::write(&path, content).unwrap();
        prop_assert_eq!(Reader::open(&path).is_err(), changed);
    }
}
