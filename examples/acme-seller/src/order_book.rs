//! Acme's order book: what it keeps, one small file a record.
//!
//! Invariants: a record is written once, whole or not at all, and never changes; the first to write a key wins, whoever
//! and however many try, in one process or several; what was said to be written survives the process and the machine.
//!
//! ```text
//! {data dir}/{ledger}/{key}.json   the records
//! {data dir}/calls.jsonl           every try to write one: {"ledger", "key", "new"}
//! ```

use handoff::prelude::*;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};
use std::{
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

/// A part of the order book.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ledger {
    /// Media buys as they were made, by account and media buy id.
    MediaBuys,
    /// Their changes, by account, media buy id and revision.
    Changes,
    /// Media buys that were undone or purged, by idempotency token.
    Undone,
    /// Booked lines, by idempotency token and line number.
    Lines,
    /// Lines given back, by the same.
    Releases,
    /// Chores that the back office did, by idempotency token and step.
    Chores,
    /// Reviews that wait for a reviewer, by task id.
    Reviews,
    /// Creatives as synchronised, by account, creative id and idempotency token.
    Creatives,
    /// What was decided about creatives later, by account, creative id and number.
    CreativeStatuses,
    /// Audiences as synchronised, by account, audience id and idempotency token.
    Audiences,
    /// What buyers said about media buys, by idempotency token.
    Feedback,
    /// Accounts that agents asked for, by agent and account id.
    Accounts,
    /// What became of accounts, by agent, account id and number.
    AccountStatuses,
    /// What was delivered of media buys, by account, media buy id and number.
    Deliveries,
    /// Signals that were switched on and off, by idempotency token.
    Activations,
    /// What tests put into the sandbox, by agent, kind, id and number.
    Seeds,
    /// What the people at Acme were told, by task id and condition.
    Notices,
    /// Exits that the sandbox wanted, by idempotency token and point.
    Exits,
}

impl Ledger {
    /// Its directory.
    pub fn name(self) -> &'static str {
        match self {
            Self::MediaBuys => "media_buys",
            Self::Changes => "changes",
            Self::Undone => "undone",
            Self::Lines => "lines",
            Self::Releases => "releases",
            Self::Chores => "chores",
            Self::Reviews => "reviews",
            Self::Creatives => "creatives",
            Self::CreativeStatuses => "creative_statuses",
            Self::Audiences => "audiences",
            Self::Feedback => "feedback",
            Self::Accounts => "accounts",
            Self::AccountStatuses => "account_statuses",
            Self::Deliveries => "deliveries",
            Self::Activations => "activations",
            Self::Seeds => "seeds",
            Self::Notices => "notices",
            Self::Exits => "exits",
        }
    }
}

/// A record's key: different parts make different keys, and any text is a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

// Room for ".json" and for what a temporary file's name adds, below the 255 bytes of most file systems.
const MAX_KEY_BYTES: usize = 200;

impl Key {
    /// The key of these parts.
    pub fn of(parts: &[&str]) -> Result<Self, AdcpError> {
        let key = parts.iter().map(|part| encoded(part)).collect::<Vec<_>>().join(".");
        if key.len() > MAX_KEY_BYTES {
            return Err(AdcpError::correctable("VALIDATION_ERROR", "An id is longer than Acme can keep.")
                .suggestion("Keep ids below 60 letters, digits, '-' and '_'."));
        }
        Ok(Self(key))
    }
}

// Letters, digits, '-' and '_' stay; everything else, path separators and dots first of all, is written in hex.
fn encoded(part: &str) -> String {
    part.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// What a ledger holds under a key, after a try to enter something.
#[derive(Clone, Debug, PartialEq)]
pub enum Entered<T> {
    /// What was to be entered.
    New(T),
    /// What was there already.
    Known(T),
}

impl<T> Entered<T> {
    /// Whether it was entered now.
    pub fn is_new(&self) -> bool {
        matches!(self, Self::New(_))
    }

    /// The record.
    pub fn into_record(self) -> T {
        match self {
            Self::New(record) | Self::Known(record) => record,
        }
    }
}

/// One try to write a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Where.
    pub ledger: Ledger,
    /// The key, as in the file's name.
    pub key: String,
    /// Whether it was written then; it was there already otherwise.
    pub new: bool,
}

/// Acme's order book.
#[derive(Clone, Debug)]
pub struct OrderBook {
    dir: PathBuf,
}

impl OrderBook {
    /// The book in this directory, which is made when it is first needed.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Enters a record, unless there is one under this key: then that one stands.
    pub async fn enter<T>(&self, ledger: Ledger, key: Key, record: T) -> Result<Entered<T>, AdcpError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        self.blocking(move |book| {
            let written = write_once(&book.dir.join(ledger.name()), &key.0, &serde_json::to_vec_pretty(&record)?)?;
            book.log(&Call { ledger, key: key.0.clone(), new: written })?;
            if written { Ok(Entered::New(record)) } else { Ok(Entered::Known(read(&book.file(ledger, &key.0))?)) }
        })
        .await
    }

    /// The record under this key.
    pub async fn find<T>(&self, ledger: Ledger, key: Key) -> Result<Option<T>, AdcpError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        self.blocking(move |book| match read(&book.file(ledger, &key.0)) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    /// All records whose key begins with these parts, ordered by key.
    pub async fn list<T>(&self, ledger: Ledger, parts: &[&str]) -> Result<Vec<T>, AdcpError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let prefix: String = parts.iter().map(|part| encoded(part) + ".").collect();
        self.blocking(move |book| {
            let mut names = record_names(&book.dir.join(ledger.name()))?;
            names.retain(|name| name.starts_with(&prefix));
            names.sort_unstable();
            names.iter().map(|name| read(&book.dir.join(ledger.name()).join(name))).collect()
        })
        .await
    }

    /// Enters a record after all others whose key begins with these parts, whoever else does the same now.
    pub async fn append<T>(&self, ledger: Ledger, parts: &[&str], record: T) -> Result<(), AdcpError>
    where
        T: Clone + Serialize + DeserializeOwned + Send + 'static,
    {
        let mut number = self.list::<IgnoredAny>(ledger, parts).await?.len();
        loop {
            number += 1;
            let last = format!("{number:06}");
            let key: Vec<&str> = parts.iter().copied().chain([last.as_str()]).collect();
            if self.enter(ledger, Key::of(&key)?, record.clone()).await?.is_new() {
                return Ok(());
            }
        }
    }

    /// The last of the records whose key begins with these parts.
    pub async fn latest<T>(&self, ledger: Ledger, parts: &[&str]) -> Result<Option<T>, AdcpError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        Ok(self.list(ledger, parts).await?.pop())
    }

    /// Every try to write a record of this ledger, in order: how often something happened, and how often it was tried.
    pub async fn calls(&self, ledger: Ledger) -> Result<Vec<Call>, AdcpError> {
        self.blocking(move |book| {
            let text = match fs::read_to_string(book.dir.join("calls.jsonl")) {
                Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
                text => text?,
            };
            // A line that a crash cut short is no call: the record is written before it.
            let calls = text.lines().filter_map(|line| serde_json::from_str::<Call>(line).ok());
            Ok(calls.filter(|call| call.ledger == ledger).collect())
        })
        .await
    }

    fn file(&self, ledger: Ledger, key: &str) -> PathBuf {
        self.dir.join(ledger.name()).join(format!("{key}.json"))
    }

    fn log(&self, call: &Call) -> io::Result<()> {
        let mut line = serde_json::to_vec(call)?;
        line.push(b'\n');
        OpenOptions::new().create(true).append(true).open(self.dir.join("calls.jsonl"))?.write_all(&line)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T, AdcpError> {
        let book = self.clone();
        let result = tokio::task::spawn_blocking(move || work(&book)).await.map_err(io::Error::other);
        result.flatten().map_err(|error| {
            tracing::error!(%error, dir = %self.dir.display(), "the order book can't be used");
            AdcpError::transient("SERVICE_UNAVAILABLE", "Acme's order book is away.").retry_after(5)
        })
    }
}

// A temporary file, synced, gets the key's name unless the name is taken; `rename` would replace what is there.
fn write_once(dir: &Path, key: &str, bytes: &[u8]) -> io::Result<bool> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let file = dir.join(format!("{key}.json"));
    if file.exists() {
        return Ok(false);
    }
    fs::create_dir_all(dir)?;
    let temporary = dir.join(format!(".{key}.{}.{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    let mut writer = File::create(&temporary)?;
    writer.write_all(bytes)?;
    writer.sync_all()?;
    let linked = fs::hard_link(&temporary, &file);
    fs::remove_file(&temporary)?;
    match linked {
        Ok(()) => File::open(dir)?.sync_all().map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn read<T: DeserializeOwned>(file: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

fn record_names(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.filter(|name| !name.as_ref().is_ok_and(|name: &String| name.starts_with('.'))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[&str]) -> Key {
        Key::of(parts).unwrap()
    }

    #[tokio::test]
    async fn the_first_to_enter_wins_and_every_try_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let tries = (0..20).map(|n| {
            let book = OrderBook::new(dir.path());
            tokio::spawn(async move { book.enter(Ledger::Lines, key(&["task_1", "1"]), n).await.unwrap() })
        });
        let mut entered = Vec::new();
        for one in tries.collect::<Vec<_>>() {
            entered.push(one.await.unwrap());
        }
        let book = OrderBook::new(dir.path());
        let stands: i32 = book.find(Ledger::Lines, key(&["task_1", "1"])).await.unwrap().unwrap();
        assert_eq!(entered.iter().filter(|one| one.is_new()).count(), 1);
        assert!(entered.into_iter().all(|one| one.into_record() == stands));
        let calls = book.calls(Ledger::Lines).await.unwrap();
        assert_eq!((calls.len(), calls.iter().filter(|call| call.new).count()), (20, 1));
        assert_eq!(book.list::<i32>(Ledger::Lines, &["task_1"]).await.unwrap(), [stands]);
        assert_eq!(book.list::<i32>(Ledger::Lines, &["task"]).await.unwrap(), [0; 0]);
    }

    #[tokio::test]
    async fn what_is_appended_keeps_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let book = OrderBook::new(dir.path());
        for n in 1..=11 {
            book.append(Ledger::Seeds, &["agent", "product"], n).await.unwrap();
        }
        assert_eq!(book.latest::<i32>(Ledger::Seeds, &["agent", "product"]).await.unwrap(), Some(11));
        assert_eq!(book.list::<i32>(Ledger::Seeds, &["agent"]).await.unwrap(), (1..=11).collect::<Vec<_>>());
        assert_eq!(book.latest::<i32>(Ledger::Seeds, &["agent", "creative"]).await.unwrap(), None);
    }

    #[test]
    fn keys_never_leave_their_ledger_and_never_meet() {
        assert_eq!(key(&["../../etc", "a.b"]), Key("%2E%2E%2F%2E%2E%2Fetc.a%2Eb".into()));
        assert_ne!(key(&["a", "b.c"]), key(&["a.b", "c"]));
        assert_eq!(Key::of(&[&"x".repeat(500)]).unwrap_err().code, "VALIDATION_ERROR");
    }
}
