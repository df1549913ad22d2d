// SPDX-License-Identifier: Apache-2.0 OR MIT

//! What each runner is told on its command line.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};

/// The options that both runners have. `M` is what is done to the programs.
#[derive(Args)]
// Else clap makes a group of each structure, and both would be named `Options`.
#[group(skip)]
pub struct Options<M: ValueEnum + Send + Sync + 'static> {
    /// The tool under test.
    #[arg(long)]
    pub crust: PathBuf,
    /// A directory for images and logs. What fails stays there.
    #[arg(long)]
    pub out: PathBuf,
    /// What is done to the programs.
    #[arg(long, value_enum, default_values = ["kill", "running", "repeat"])]
    pub mode: Vec<M>,
    /// Only these.
    pub names: Vec<String>,
}

impl<M: ValueEnum + Debug + Send + Sync> Options<M> {
    /// Whether this one is to be run.
    pub fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }

    /// Checks that all that is wanted is there: a typing error must not look like success.
    pub fn check_names<'a>(&self, there: impl Iterator<Item = &'a Path> + Clone) -> Result<()> {
        for wanted in &self.names {
            let is_it = |path: &Path| path.file_stem().is_some_and(|name| name == wanted.as_str());
            let has_it = there
                .clone()
                .any(|path| path.ends_with(wanted) || is_it(path));
            ensure!(has_it, "there is no {wanted}");
        }
        Ok(())
    }

    /// An empty directory for a run, where a former one may have left something.
    pub fn fresh_directory(&self, name: &str, mode: &M) -> Result<PathBuf> {
        let directory = self.out.join(format!("{name}-{}", lowercase(mode)));
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        Ok(directory.canonicalize()?)
    }
}

/// A mode as it is written on the command line.
pub fn lowercase(mode: &impl Debug) -> String {
    format!("{mode:?}").to_lowercase()
}
