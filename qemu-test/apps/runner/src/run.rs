// SPDX-License-Identifier: Apache-2.0 OR MIT

//! An application under way, and what is done to it.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use shared::{tool, tree};

use crate::app::{App, Step, find};
use crate::files::Saved;
use crate::shell::{Shell, wait_until};
use crate::terminal::Terminal;

/// What is done to a program in the midst of its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Nothing.
    Undisturbed,
    /// Dumped, which kills it, and restored.
    Kill,
    /// Dumped with `--leave-running`: the program goes on to its end, and then its image is restored.
    Running,
    /// Dumped and restored five times in a row.
    Repeat,
}

/// A run of an application.
pub struct Run<'a> {
    pub crust: &'a Path,
    pub programs: &'a [PathBuf],
    pub app: &'a App,
    /// A fresh directory of its own.
    pub directory: PathBuf,
    /// That of the run in which nothing was dumped.
    pub undisturbed: Option<&'a Path>,
}

/// The program of a run.
struct Program {
    shell: Shell,
    terminal: Option<Terminal>,
}

impl Run<'_> {
    /// Runs it; an error says what went wrong.
    pub fn run(&self, mode: Mode) -> Result<()> {
        fs::create_dir_all(self.images())?;
        fs::create_dir_all(self.work())?;
        for file in &self.app.files {
            let source =
                find(file, self.programs).with_context(|| format!("there is no {file}"))?;
            fs::copy(source, self.work().join(file))?;
        }
        let mut program = self.start()?;
        self.await_ready(&program)?;
        program.steps(&self.app.before).context("before the dump")?;
        match mode {
            Mode::Undisturbed => {}
            Mode::Kill => self.dump_and_restore(&mut program, 1)?,
            Mode::Repeat => self.dump_and_restore(&mut program, 5)?,
            Mode::Running => {
                self.dump_left_running(&mut program)?;
                self.restore(&mut program)?;
                if self.app.files_go_along {
                    signal_all(program.shell.pid, Signal::SIGCONT);
                }
            }
        }
        self.see_it_end(&mut program).context(match mode {
            Mode::Undisturbed => "undisturbed",
            _ => "after the restore",
        })
    }

    /// Where the program works.
    fn work(&self) -> PathBuf {
        self.directory.join("work")
    }

    fn images(&self) -> PathBuf {
        self.directory.join("images")
    }

    fn start(&self) -> Result<Program> {
        let mut shell = Shell {
            directory: self.work(),
            pid: 0,
        };
        shell.run(&self.app.prepare).context("prepare")?;
        if self.app.terminal {
            let mut terminal = Terminal::start(&self.work(), &self.directory.join("terminal"))?;
            let start = self.app.start.replace('\'', r"'\''");
            let line = format!("sh -c 'echo $$ >../pid; exec {start}'; echo \"status:$?\"\n");
            terminal.enter(&line, "")?;
            let file = self.directory.join("pid");
            wait_until(
                &self.directory,
                "the shell does not start the program",
                || {
                    let text = fs::read_to_string(&file).unwrap_or_default();
                    shell.pid = text.trim().parse().unwrap_or(0);
                    Ok(shell.pid != 0)
                },
            )?;
            return Ok(Program {
                shell,
                terminal: Some(terminal),
            });
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))?;
        let child = Command::new("setsid")
            .args(["sh", "-c", &format!("exec {}", self.app.start)])
            .current_dir(self.work())
            .stdin(std::process::Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("run {}", self.app.start))?;
        // It is waited for by number, as a restored program has to be.
        shell.pid = child.id() as i32;
        Ok(Program {
            shell,
            terminal: None,
        })
    }

    fn await_ready(&self, program: &Program) -> Result<()> {
        wait_until(&self.directory, "it never gets ready", || {
            if program.terminal.is_none() {
                if let Some(status) = tool::reap(program.shell.pid)? {
                    bail!("it ended before it was ready: {status}\n{}", self.log());
                }
            }
            program.shell.succeeds(&self.app.ready)
        })
    }

    fn dump_and_restore(&self, program: &mut Program, times: u32) -> Result<()> {
        for time in 0..times {
            let members = tree::descendants(program.shell.pid);
            self.dump(program, &[])?;
            if time == 0 {
                self.inspect(program)?;
            }
            // A restore may follow at once: every number must be free.
            for member in members {
                ensure!(
                    !tree::exists(member),
                    "process {member} of the dumped tree is still there"
                );
            }
            if let Some(terminal) = &mut program.terminal {
                terminal.shows("status:137")?;
            }
            let before = program.progress(self.app)?;
            self.restore(program)?;
            program.goes_on(self.app, &before)?;
        }
        Ok(())
    }

    /// Dumps the program, sees it end, and makes everything as it was.
    fn dump_left_running(&self, program: &mut Program) -> Result<()> {
        let mut saved = None;
        if self.app.files_go_along {
            stop(program.shell.pid, &self.directory)?;
        }
        self.dump(program, &["--leave-running"])?;
        self.inspect(program)?;
        if self.app.files_go_along {
            let elsewhere = program.shell.run(&self.app.files_elsewhere)?;
            let elsewhere: Vec<_> = elsewhere.lines().map(PathBuf::from).collect();
            saved = Some(Saved::take(
                &self.work(),
                &self.directory.join("saved"),
                &elsewhere,
            )?);
            signal_all(program.shell.pid, Signal::SIGCONT);
        }
        let before = program.progress(self.app)?;
        program
            .goes_on(self.app, &before)
            .and_then(|()| self.see_it_end(program))
            .context("left running")?;
        wait_until(&self.directory, "descendants of it do not end", || {
            Ok(program.descendants_of_ours().is_empty())
        })?;
        if let Some(saved) = saved {
            saved.put_back()?;
        }
        program.shell.run(&self.app.again)?;
        Ok(())
    }

    fn see_it_end(&self, program: &mut Program) -> Result<()> {
        program.steps(&self.app.after)?;
        program.shell.run(&self.app.end)?;
        let (pid, expected) = (program.shell.pid, self.app.status);
        if let Some(terminal) = &mut program.terminal {
            terminal.shows(&format!("status:{expected}"))?;
            ensure!(!tree::exists(pid), "it is still there");
        } else {
            let mut ended = None;
            wait_until(&self.directory, "it does not end", || {
                ended = tool::reap(pid)?;
                Ok(ended.is_some())
            })?;
            let expected = ExitStatus::from_raw(match expected {
                128.. => expected - 128,
                _ => expected << 8,
            });
            ensure!(
                ended == Some(expected),
                "it ended with {}, and not {expected}\n{}",
                ended.unwrap_or_default(),
                self.log()
            );
        }
        if let Some(undisturbed) = self.undisturbed {
            for name in &self.app.same {
                let ours = fs::read(self.work().join(name)).context(name.clone())?;
                let theirs = fs::read(undisturbed.join("work").join(name))?;
                ensure!(!theirs.is_empty(), "{name} is empty when undisturbed");
                ensure!(
                    ours == theirs,
                    "{name} differs from that of an undisturbed run"
                );
            }
        }
        program.steps(&self.app.ended)
    }

    fn dump(&self, program: &Program, options: &[&str]) -> Result<()> {
        let pid = program.shell.pid;
        self.crust("dump", pid, |crust| {
            crust.args(["--tree", &pid.to_string()]).args(options);
        })?;
        Ok(())
    }

    /// Looks whether the image has the processes in whose work the dump was to be.
    fn inspect(&self, program: &Program) -> Result<()> {
        let tree = self.crust("inspect", program.shell.pid, |crust| {
            crust.arg("--tree");
        })?;
        let names = tree
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        let names: Vec<_> = names.collect();
        for name in &self.app.holds {
            ensure!(
                names.contains(&name.as_str()),
                "{name} is not in the image:\n{tree}"
            );
        }
        Ok(())
    }

    fn restore(&self, program: &mut Program) -> Result<()> {
        let pid = program.shell.pid;
        if let Some(terminal) = &mut program.terminal {
            let (crust, pidfile) = (self.crust.display(), self.directory.join("restored"));
            let line = format!(
                "{crust} restore --shell-job --pidfile ../restored -D ../images; echo \"status:$?\"\n"
            );
            let _ = fs::remove_file(&pidfile);
            terminal.enter(&line, "")?;
            wait_until(&self.directory, "crust does not restore it", || {
                Ok(pidfile.exists())
            })
            .or_else(|error| terminal.shows("").context(error))?;
        } else {
            self.crust("restore", pid, |crust| {
                crust.arg("--restore-detached");
            })?;
        }
        ensure!(
            tree::exists(pid),
            "process {pid} is not there after the restore"
        );
        Ok(())
    }

    /// Runs crust, which must succeed; gives what it said.
    fn crust(&self, verb: &str, pid: i32, options: impl FnOnce(&mut Command)) -> Result<String> {
        let mut crust = Command::new(self.crust);
        crust.arg(verb).arg("--images-dir").arg(self.images());
        if self.app.terminal && verb == "dump" {
            crust.arg("--shell-job");
        }
        options(&mut crust);
        let said = self.directory.join(format!("{verb}.out"));
        let dying = (verb == "dump" && !self.app.terminal).then_some(pid);
        let (status, output) = tool::run(&mut crust, &said, dying, &self.directory)?;
        ensure!(status.success(), "crust {verb}: {status}\n{output}");
        Ok(output)
    }

    /// What the program said.
    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Program {
    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            match step {
                Step::Run { run, prints } => {
                    let output = self.shell.run(run)?;
                    if let Some(expected) = prints {
                        let (output, expected) = (output.trim_end(), expected.trim_end());
                        ensure!(
                            output == expected,
                            "`{run}` prints\n{output}\nand not\n{expected}"
                        );
                    }
                }
                Step::Await { r#await } => {
                    wait_until(
                        &self.shell.directory,
                        &format!("`{}` never succeeds", r#await),
                        || self.shell.succeeds(r#await),
                    )?;
                }
                Step::Type { r#type, shows } => {
                    let terminal = self.terminal.as_mut().context("there is no terminal")?;
                    terminal.enter(r#type, shows)?;
                }
            }
        }
        Ok(())
    }

    /// What is left of it when it has ended: orphans are our children, and are reaped.
    fn descendants_of_ours(&self) -> Vec<i32> {
        let shell = self.terminal.as_ref().map(Terminal::shell);
        let all = tree::descendants(std::process::id() as i32)
            .into_iter()
            .skip(1);
        let others = all.filter(|&pid| Some(pid) != shell);
        others
            .filter(|&pid| !matches!(tool::reap(pid), Ok(Some(_))))
            .collect()
    }

    fn progress(&self, app: &App) -> Result<String> {
        self.shell.run(&app.goes_on)
    }

    fn goes_on(&self, app: &App, before: &str) -> Result<()> {
        if app.goes_on.is_empty() {
            return Ok(());
        }
        self.shell.await_other(&app.goes_on, before)
    }
}

/// Stops a whole tree, as the job control of a shell would.
fn stop(pid: i32, directory: &Path) -> Result<()> {
    wait_until(directory, "the tree does not stop", || {
        signal_all(pid, Signal::SIGSTOP);
        thread::sleep(Duration::from_millis(5));
        let stopped = |pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            state.starts_with(['T', 'Z'])
        };
        Ok(tree::descendants(pid).into_iter().all(stopped))
    })
}

fn signal_all(pid: i32, signal: Signal) {
    for member in tree::descendants(pid) {
        // One that has ended needs none.
        let _ = kill(Pid::from_raw(member), signal);
    }
}
