// SPDX-License-Identifier: Apache-2.0 OR MIT

//! A program on tokio: many tasks with timers, channels, a pair of Unix sockets and files, until SIGUSR1. Then what they
//! did is checked.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

const SLEEPERS: u64 = 500;

/// How far the tasks are.
#[derive(Default)]
struct Counts {
    naps: AtomicU64,
    lines: AtomicU64,
    answers: AtomicU64,
    writes: AtomicU64,
}

impl Counts {
    fn all(&self) -> [u64; 4] {
        [&self.naps, &self.lines, &self.answers, &self.writes].map(|count| count.load(Relaxed))
    }
}

/// Whether the end has come.
type Stop = watch::Receiver<bool>;

fn ended(stop: &Stop) -> bool {
    *stop.borrow()
}

/// Sleeps, and sends its number for each time.
async fn sleeper(number: u64, sums: mpsc::Sender<u64>, stop: Stop) -> Result<u64> {
    let mut naps = 0;
    while !ended(&stop) {
        let (begun, time) = (Instant::now(), Duration::from_millis(500 + number));
        sleep(time).await;
        ensure!(begun.elapsed() >= time, "sleeper {number} woke too early");
        naps += 1;
        sums.send(number).await?;
    }
    Ok(naps * number)
}

/// Adds up what the sleepers send.
async fn adder(mut sums: mpsc::Receiver<u64>, counts: Arc<Counts>) -> Result<u64> {
    let mut total = 0;
    while let Some(number) = sums.recv().await {
        total += number;
        counts.naps.fetch_add(1, Relaxed);
    }
    Ok(total)
}

/// Writes numbered lines into one end of a pair.
async fn talker(mut stream: UnixStream, stop: Stop) -> Result<()> {
    let mut number = 0;
    while !ended(&stop) {
        let lines: String = (number..number + 50)
            .map(|n| format!("line {n}\n"))
            .collect();
        number += 50;
        stream.write_all(lines.as_bytes()).await?;
        sleep(Duration::from_millis(2)).await;
    }
    stream.shutdown().await?;
    // The listener says how many lines it has seen.
    ensure!(stream.read_u64().await? == number, "lines are missing");
    Ok(())
}

async fn listener(mut stream: UnixStream, counts: Arc<Counts>) -> Result<()> {
    let (reading, mut writing) = stream.split();
    let mut lines = BufReader::new(reading).lines();
    let mut number = 0;
    while let Some(line) = lines.next_line().await? {
        ensure!(line == format!("line {number}"), "{line} and not {number}");
        number += 1;
        counts.lines.store(number, Relaxed);
    }
    writing.write_u64(number).await?;
    Ok(())
}

type Question = (u64, oneshot::Sender<u64>);

/// Answers questions, each on a thread that may block.
async fn server(mut questions: mpsc::Receiver<Question>) -> Result<()> {
    while let Some((number, answer)) = questions.recv().await {
        let square = tokio::task::spawn_blocking(move || number * number).await?;
        let _ = answer.send(square);
    }
    Ok(())
}

async fn asker(questions: mpsc::Sender<Question>, counts: Arc<Counts>, stop: Stop) -> Result<()> {
    let mut number = 0;
    while !ended(&stop) {
        let (send, receive) = oneshot::channel();
        questions.send((number, send)).await?;
        ensure!(receive.await? == number * number, "the square of {number}");
        number += 1;
        counts.answers.store(number, Relaxed);
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Appends to a file, and reads all of it again in the end.
async fn scribe(counts: Arc<Counts>, stop: Stop) -> Result<()> {
    let mut file = tokio::fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open("written")
        .await?;
    let mut expected = String::new();
    let mut timer = interval(Duration::from_millis(10));
    while !ended(&stop) {
        timer.tick().await;
        let line = format!("write {}\n", counts.writes.fetch_add(1, Relaxed));
        file.write_all(line.as_bytes()).await?;
        file.flush().await?;
        expected.push_str(&line);
    }
    file.rewind().await?;
    let mut found = String::new();
    file.read_to_string(&mut found).await?;
    ensure!(found == expected, "the file is not what was written");
    Ok(())
}

async fn reporter(counts: Arc<Counts>, stop: Stop) -> Result<()> {
    let file = std::fs::File::create("progress")?;
    while !ended(&stop) {
        sleep(Duration::from_millis(20)).await;
        let state = counts.all();
        if state.iter().all(|&count| count > 0) {
            file.write_all_at(format!("{state:10?}\n").as_bytes(), 0)?;
        }
    }
    Ok(())
}

#[tokio::main(worker_threads = 3)]
async fn main() -> Result<()> {
    let counts = Arc::new(Counts::default());
    let (end, stop) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let (sums, received) = mpsc::channel(10);
    let adder = tokio::spawn(adder(received, Arc::clone(&counts)));
    let mut sleepers = JoinSet::new();
    for number in 1..=SLEEPERS {
        sleepers.spawn(sleeper(number, sums.clone(), stop.clone()));
    }
    drop(sums);
    let (here, there) = UnixStream::pair()?;
    tasks.spawn(talker(here, stop.clone()));
    tasks.spawn(listener(there, Arc::clone(&counts)));
    let (questions, asked) = mpsc::channel(1);
    tasks.spawn(server(asked));
    tasks.spawn(asker(questions, Arc::clone(&counts), stop.clone()));
    tasks.spawn(scribe(Arc::clone(&counts), stop.clone()));
    tasks.spawn(reporter(counts, stop));

    signal(SignalKind::user_defined1())?.recv().await;
    end.send(true)?;
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    let mut expected = 0;
    while let Some(result) = sleepers.join_next().await {
        expected += result??;
    }
    ensure!(adder.await?? == expected, "sums are missing");
    std::fs::write("result", "every nap, line, answer and write is right\n")?;
    Ok(())
}
