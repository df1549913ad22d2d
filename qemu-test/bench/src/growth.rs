// SPDX-License-Identifier: Apache-2.0 OR MIT

//! How the time grows with the number of processes and threads: ten times as many should take ten times as long.

use std::time::Duration;

use anyhow::Result;

use crate::tool::Tool;
use crate::{Options, Series, Workload, median, take_turns};

/// Title, shape, and how many at most.
const SHAPES: [(&str, &str, u32); 3] = [
    ("processes of one parent", "processes", 1000),
    ("processes in a chain", "chain", 1000),
    ("threads", "threads", 10_000),
];

/// Prints a table for dumps and restores.
pub fn show(options: &Options, tools: &[Tool]) -> Result<()> {
    println!("| ms (us for each) | tool | 10 | 100 | 1,000 | 10,000 |");
    println!("|---|---|--:|--:|--:|--:|");
    for (title, shape, most) in SHAPES {
        if options
            .only
            .as_ref()
            .is_some_and(|only| !title.contains(only.as_str()))
        {
            continue;
        }
        let mut cells = vec![[Vec::new(), Vec::new()]; tools.len()];
        for count in [10, 100, 1000, 10_000] {
            let results = if count <= most {
                let workload = Workload::new(title, shape, count, false);
                take_turns(options, tools, &workload)?
            } else {
                tools.iter().map(|_| Err("-".into())).collect()
            };
            for (cells, result) in cells.iter_mut().zip(results) {
                let [dump, restore] = columns(result, count);
                cells[0].push(dump);
                cells[1].push(restore);
            }
        }
        for (tool, [dump, restore]) in tools.iter().zip(cells) {
            let name = tool.name();
            println!("| {title}: dump | {name} | {} |", dump.join(" | "));
            println!("| {title}: restore | {name} | {} |", restore.join(" | "));
        }
    }
    Ok(())
}

fn columns(result: Result<Series, String>, count: u32) -> [String; 2] {
    let cell = |time: Option<Duration>| {
        time.map_or("-".into(), |time| {
            let each = time.as_secs_f64() * 1e6 / f64::from(count);
            format!("{:.1} ({each:.0})", time.as_secs_f64() * 1e3)
        })
    };
    match result {
        Ok(series) => [series.dump, series.restore].map(|times| cell(median(times))),
        Err(why) => [why.clone(), why],
    }
}
