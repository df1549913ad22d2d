// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A case in Rust: what its standard library does that C programs do not.
//!
//! It speaks as `case.h` does: `--about`, or a directory, in which it makes a file `ready` and waits
//! for a file `go`.

use std::cell::Cell;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

const ABOUT: &str =
    "what=threads of a rust program wait, wake, remember and panic as before\ndump=\nrestore=\n\
refused=\nneeds_module=0\ndrives_itself=0\nonce=0";

/// Nothing here waits so long; that it waits with a limit is another system call.
const LONG: Duration = Duration::from_secs(100_000);

extern "C" {
    fn setsid() -> i32;
    fn close_range(first: u32, last: u32, flags: i32) -> i32;
}

thread_local!(static OWN: Cell<u64> = const { Cell::new(0) });

fn ready(directory: &Path) {
    File::create(directory.join("ready")).expect("make a file");
    while !directory.join("go").exists() {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Uses so many frames of stack.
fn deep(depth: u32) -> u64 {
    let frame = [u64::from(depth); 64];
    // SAFETY: a reference is a valid address.
    let own = unsafe { std::ptr::read_volatile(&frame[7]) };
    match depth {
        0 => own,
        _ => deep(depth - 1) + own,
    }
}

fn run(directory: &Path) {
    let begun = Instant::now();
    let (to_waiter, from_us) = channel::<u32>();
    let (to_us, from_waiter) = sync_channel::<u32>(0);
    let pair = Arc::new((Mutex::new(0_u32), Condvar::new()));
    let shared = Arc::new(RwLock::new(vec![1_u64; 1000]));
    let all = Arc::new(Barrier::new(5));

    let receiver = thread::Builder::new().name("receiver".into());
    let receiver = receiver.spawn(move || {
        OWN.with(|own| own.set(11));
        let got = from_us.recv_timeout(LONG).expect("a message");
        // Nobody takes it before it is sent.
        to_us.send(got + 1).expect("a receiver");
        (
            OWN.with(Cell::get),
            thread::current().name().map(str::to_owned),
        )
    });
    let receiver = receiver.expect("a thread");
    let parked = thread::spawn(|| {
        OWN.with(|own| own.set(12));
        thread::park_timeout(LONG);
        OWN.with(Cell::get)
    });
    let waiter = {
        let pair = Arc::clone(&pair);
        thread::spawn(move || {
            OWN.with(|own| own.set(13));
            let (count, changed) = &*pair;
            let count = count.lock().expect("a lock");
            let (count, _) = changed
                .wait_timeout_while(count, LONG, |count| *count < 3)
                .expect("a lock");
            (OWN.with(Cell::get), *count)
        })
    };
    let readers: Vec<_> = (0..4)
        .map(|number| {
            let (shared, all) = (Arc::clone(&shared), Arc::clone(&all));
            thread::spawn(move || {
                all.wait();
                let sum: u64 = shared.read().expect("a lock").iter().sum();
                sum + number + deep(1000)
            })
        })
        .collect();
    let guard = shared.write().expect("a lock");
    OWN.with(|own| own.set(10));

    ready(directory);

    assert_eq!(OWN.with(Cell::get), 10);
    drop(guard);
    shared.write().expect("a lock")[999] = 2;
    all.wait();
    let expected = 1001 + (0..=1000).sum::<u64>();
    for (number, reader) in (0..).zip(readers.ended()) {
        assert_eq!(reader, expected + number);
    }
    to_waiter.send(41).expect("a receiver");
    assert_eq!(from_waiter.recv_timeout(LONG), Ok(42));
    assert_eq!(receiver.ended(), (11, Some("receiver".into())));
    parked.thread().unpark();
    assert_eq!(parked.ended(), 12);
    for _ in 0..3 {
        *pair.0.lock().expect("a lock") += 1;
        pair.1.notify_all();
    }
    assert_eq!(waiter.ended(), (13, 3));
    assert!(Instant::now() >= begun);

    // The tables for unwinding are where they were, and new threads can be made.
    let panicked = thread::spawn(|| -> u32 { panic!("as it should") }).join();
    assert_eq!(
        panicked.unwrap_err().downcast_ref::<&str>(),
        Some(&"as it should")
    );
    let sum = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || deep(n * 100))).collect();
        threads.ended().into_iter().sum::<u64>()
    });
    assert_eq!(sum, (0..8_u64).map(|n| (0..=n * 100).sum::<u64>()).sum());
}

/// A thread that is waited for.
trait Joined {
    type Result;
    fn ended(self) -> Self::Result;
}

impl<T> Joined for thread::JoinHandle<T> {
    type Result = T;
    fn ended(self) -> T {
        self.join().expect("a thread that does not panic")
    }
}

impl<T> Joined for thread::ScopedJoinHandle<'_, T> {
    type Result = T;
    fn ended(self) -> T {
        self.join().expect("a thread that does not panic")
    }
}

/// Several of them.
trait AllJoined {
    type Result;
    fn ended(self) -> Vec<Self::Result>;
}

impl<J: Joined> AllJoined for Vec<J> {
    type Result = J::Result;
    fn ended(self) -> Vec<J::Result> {
        self.into_iter().map(J::ended).collect()
    }
}

fn main() -> ExitCode {
    match std::env::args().nth(1) {
        Some(argument) if argument == "--about" => println!("{ABOUT}"),
        Some(directory) => {
            // SAFETY: nothing of this program is open yet, and the calls take no pointers.
            unsafe {
                close_range(3, u32::MAX, 0);
                setsid();
            }
            run(&PathBuf::from(directory));
        }
        None => return ExitCode::from(2),
    }
    ExitCode::SUCCESS
}
