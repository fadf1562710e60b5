//! What a lab seller did, written down so that it survives the process; and gates that hold it until a test opens them.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};

/// A directory with a line for each call of a handler, and a file for each open gate.
#[derive(Clone, Debug)]
pub struct Calls {
    directory: PathBuf,
}

impl Calls {
    /// In this directory.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Writes down a call.
    pub fn record(&self, what: &str, task_id: &str, detail: &str) {
        let line = format!("{what} {task_id} {detail}\n");
        let path = self.directory.join("calls.log");
        // One write of a short line to a file opened for appending is not torn by other processes.
        let written =
            OpenOptions::new().create(true).append(true).open(path).and_then(|mut log| log.write_all(line.as_bytes()));
        written.expect("the call log can be written");
    }

    /// The details of each call of this kind for a task, in order.
    pub fn of(&self, what: &str, task_id: &str) -> Vec<String> {
        let log = fs::read_to_string(self.directory.join("calls.log")).unwrap_or_default();
        log.lines()
            .filter_map(|line| {
                let mut words = line.splitn(3, ' ');
                (words.next() == Some(what) && words.next() == Some(task_id))
                    .then(|| words.next().unwrap_or("").to_owned())
            })
            .collect()
    }

    /// The task of each call of this kind, in order.
    pub fn tasks(&self, what: &str) -> Vec<String> {
        let log = fs::read_to_string(self.directory.join("calls.log")).unwrap_or_default();
        let calls = log.lines().filter_map(|line| line.strip_prefix(what)?.strip_prefix(' ')?.split(' ').next());
        calls.map(ToOwned::to_owned).collect()
    }

    /// Lets whoever waits at a gate go on.
    pub fn open(&self, gate: &str) {
        fs::write(self.directory.join(format!("gate-{gate}")), "").expect("the gate can be opened");
    }

    /// Waits until the gate is open.
    pub async fn pass(&self, gate: &str) {
        let path = self.directory.join(format!("gate-{gate}"));
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Makes the next time that it is asked for this name the first one again.
    pub fn once_more(&self, name: &str) {
        let _ = fs::remove_file(self.directory.join(format!("once-{name}")));
    }

    /// `true` the first time that it is asked for this name, in this or any other process.
    pub fn first_time(&self, name: &str) -> bool {
        OpenOptions::new().create_new(true).write(true).open(self.directory.join(format!("once-{name}"))).is_ok()
    }
}

/// SIGKILL to this process.
pub(crate) fn die() -> ! {
    let _ = std::process::Command::new("kill").args(["-KILL", &std::process::id().to_string()]).status();
    std::process::abort()
}
