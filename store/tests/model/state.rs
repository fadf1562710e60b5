//! What the model knows: one buyer's key, at most two task keys, one proposal that every request names.
//!
//! Small and comparable: states are hashed by the hundred thousand.

use std::fmt;

/// A task key: the first or the second that was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub(crate) u8);

impl Key {
    pub(crate) const ALL: [Self; 2] = [Self(0), Self(1)];

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}", self.0 + 1)
    }
}

/// How a task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum End {
    Completed,
    Failed,
    Canceled,
}

/// What a buyer can be told; also what a claim is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Word {
    Submitted,
    Completed,
    Failed,
    Canceled,
    Refused,
    Unknown,
}

impl Word {
    pub(crate) const ALL: [Self; 6] =
        [Self::Submitted, Self::Completed, Self::Failed, Self::Canceled, Self::Refused, Self::Unknown];

    /// Says how a task ended.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

impl From<End> for Word {
    fn from(end: End) -> Self {
        match end {
            End::Completed => Self::Completed,
            End::Failed => Self::Failed,
            End::Canceled => Self::Canceled,
        }
    }
}

/// A set of words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Words(u8);

impl Words {
    pub(crate) fn insert(&mut self, word: impl Into<Word>) {
        self.0 |= 1 << word.into() as u8;
    }

    pub(crate) fn contains(self, word: impl Into<Word>) -> bool {
        self.0 & 1 << word.into() as u8 != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Word> {
        Word::ALL.into_iter().filter(move |&word| self.contains(word))
    }
}

/// What a verb handler answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Decision {
    Refuse,
    Complete,
    Workflow,
    Task,
}

/// The decision journal of one task key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Journal {
    Open,
    /// Open, with the intent to call the handler written down. Only [`crate::model::Variant::Reference`] does that.
    Begun,
    Void,
    Decided(Decision),
}

impl Journal {
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Open | Self::Begun)
    }
}

/// The task row of one task key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Task {
    Absent,
    /// Decided for the workflow arm, invisible to buyers.
    Pending,
    Submitted,
    /// Submitted, and the task handler reported progress.
    Working,
    Ended(End),
    /// Taken back before anyone was told about it.
    Discarded,
    /// A tombstone.
    Purged,
}

impl Task {
    /// `submitted` was said, and the end is not recorded.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Submitted | Self::Working)
    }

    /// There is no task.
    pub(crate) fn is_missing(self) -> bool {
        matches!(self, Self::Absent | Self::Purged)
    }

    pub(crate) fn has_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }

    /// Buyers see it.
    pub(crate) fn is_visible(self) -> bool {
        self.is_open() || self.has_ended()
    }
}

/// How far the workflow of one task key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Run {
    NotStarted,
    Deciding,
    /// Waits for the enqueue handler.
    Enqueueing,
    /// Waits for an external decision.
    Waiting,
    /// Waits for the task handler.
    Running,
    /// Waits for `settle` or `discard`.
    Settling,
    /// Has a webhook to deliver.
    Publishing,
    Closed,
    Terminated,
}

impl Run {
    pub(crate) fn is_alive(self) -> bool {
        !matches!(self, Self::NotStarted | Self::Closed | Self::Terminated)
    }

    /// Was there, and is there no more.
    pub(crate) fn is_gone(self) -> bool {
        matches!(self, Self::Closed | Self::Terminated)
    }
}

/// Everything that belongs to one task key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) journal: Journal,
    pub(crate) task: Task,
    pub(crate) run: Run,
    /// The run said `submitted` at the sync deadline.
    pub(crate) promoted: bool,
    /// What buyers were told in its name.
    pub(crate) told: Words,
    /// The seller decides the same whenever it is asked with the same token.
    pub(crate) seller: Option<Decision>,
    /// The seller booked something outside in its name.
    pub(crate) booked: bool,
    /// The reviewers' system knows it.
    pub(crate) enqueued: bool,
    /// What reviewers decided.
    pub(crate) external: Words,
    /// The terminal events that were written.
    pub(crate) webhooks: Words,
    /// The terminal events that were delivered.
    pub(crate) delivered: Words,
}

impl Request {
    fn new() -> Self {
        Self {
            journal: Journal::Open,
            task: Task::Absent,
            run: Run::NotStarted,
            promoted: false,
            told: Words::default(),
            seller: None,
            booked: false,
            enqueued: false,
            external: Words::default(),
            webhooks: Words::default(),
            delivered: Words::default(),
        }
    }
}

/// The claim of the buyer's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) key: Key,
    pub(crate) answer: Option<Word>,
}

/// The proposal that every request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Proposal {
    Free,
    /// CONSUMING.
    Reserved(Key),
    Consumed(Key),
}

/// A call of the buyer's client with the one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    Idle,
    /// Knows its task key, and is about to start its run.
    Holds(Key),
    Done,
}

/// What an execution does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Activity {
    DecideBegin,
    /// Only without [`crate::rules::Rules::begin_at_once`].
    DecideReserve,
    DecideCall,
    DecideRecord(Decision),
    Accept,
    Enqueue,
    RunTask,
    Settle(End),
    Discard,
}

/// An attempt on some worker. One that crashed is one that never moves again; one that was paused moves late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Execution {
    pub(crate) id: u8,
    pub(crate) key: Key,
    pub(crate) next: Activity,
}

/// What `reconcile` saw of a row before it looked at Temporal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Observed {
    pub(crate) key: Key,
    pub(crate) journal: Journal,
    pub(crate) task: Task,
}

/// How often each kind of trouble may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budgets {
    /// Attempts beside a paused one.
    pub(crate) duplicates: u8,
    pub(crate) terminations: u8,
    pub(crate) reconciles: u8,
    pub(crate) cancels: u8,
    /// External decisions.
    pub(crate) externals: u8,
    /// The TTL passes.
    pub(crate) expiries: u8,
    /// Sync deadlines.
    pub(crate) deadlines: u8,
    /// Settles that run again.
    pub(crate) late_settles: u8,
    /// Progress reports.
    pub(crate) reports: u8,
}

/// A state of the whole.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) claim: Option<Claim>,
    /// The TTL of the key has passed.
    pub(crate) expired: bool,
    pub(crate) keys_claimed: u8,
    pub(crate) requests: [Request; 2],
    pub(crate) proposal: Proposal,
    /// Ordered by id.
    pub(crate) executions: Vec<Execution>,
    pub(crate) executions_started: u8,
    pub(crate) clients: Vec<Client>,
    pub(crate) observed: Option<Observed>,
    pub(crate) budgets: Budgets,
}

impl State {
    pub(crate) fn new(clients: usize, budgets: Budgets) -> Self {
        Self {
            claim: None,
            expired: false,
            keys_claimed: 0,
            requests: [Request::new(), Request::new()],
            proposal: Proposal::Free,
            executions: Vec::new(),
            executions_started: 0,
            clients: vec![Client::Idle; clients],
            observed: None,
            budgets,
        }
    }

    pub(crate) fn of(&self, key: Key) -> &Request {
        &self.requests[key.index()]
    }

    pub(crate) fn of_mut(&mut self, key: Key) -> &mut Request {
        &mut self.requests[key.index()]
    }

    /// The claim is still this key's.
    pub(crate) fn holds_claim(&self, key: Key) -> bool {
        self.claim.is_some_and(|claim| claim.key == key)
    }

    pub(crate) fn start(&mut self, key: Key, next: Activity) {
        self.executions.push(Execution { id: self.executions_started, key, next });
        self.executions_started += 1;
    }

    pub(crate) fn tell(&mut self, key: Key, word: Word) {
        self.of_mut(key).told.insert(word);
    }
}
