//! The SQL of both databases: statements with numbered parameters, and the rows that they bring back.
//!
//! Both understand `$1`, row values, partial indexes and `ON CONFLICT`; a [`Dialect`] holds the few differences. How a
//! statement runs is up to `sqlite` and `postgres`.

pub(crate) mod cursor;
pub(crate) mod directives;
pub(crate) mod governance;
mod keys;
pub(crate) mod list;
pub(crate) mod nonces;
pub(crate) mod proposals;
pub(crate) mod requests;
pub(crate) mod reset;
mod row;
pub(crate) mod webhooks;

pub(crate) use keys::stored_key;
pub(crate) use row::{HistoryRow, OpenRow, Row};

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Bind {
    Int(Option<i64>),
    Text(Option<String>),
    Bool(bool),
}

impl From<i64> for Bind {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Bind {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<&str> for Bind {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<&String> for Bind {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

impl From<String> for Bind {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<&Option<String>> for Bind {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}

impl From<Option<String>> for Bind {
    fn from(value: Option<String>) -> Self {
        Self::Text(value)
    }
}

impl From<bool> for Bind {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// SQL text and its parameters. The text is made of constants and parameter numbers only; what callers bring is a
/// parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Statement {
    pub(crate) text: String,
    pub(crate) binds: Vec<Bind>,
}

impl Statement {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), binds: Vec::new() }
    }

    /// Appends text.
    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Appends a parameter.
    pub(crate) fn bind(&mut self, value: impl Into<Bind>) -> &mut Self {
        self.binds.push(value.into());
        let number = self.binds.len();
        self.text.push('$');
        self.text.push_str(&number.to_string());
        self
    }

    /// Appends parameters, with commas between.
    pub(crate) fn bind_all<T: Into<Bind>>(&mut self, values: impl IntoIterator<Item = T>) -> &mut Self {
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.push(", ");
            }
            self.bind(value);
        }
        self
    }
}

/// Where the databases differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// Locks what is selected. SQLite's `BEGIN IMMEDIATE` has locked everything already.
    pub(crate) fn lock(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE",
        }
    }

    /// Makes sure of the index. SQLite without statistics prefers any index with more equalities, even if it must sort
    /// a hundred thousand rows afterwards; PostgreSQL has statistics and no such hint.
    pub(crate) fn indexed_by(self, index: &str) -> String {
        match self {
            Self::Sqlite => format!(" INDEXED BY {index}"),
            Self::Postgres => String::new(),
        }
    }

    /// Several selections are merged only if each is in order by itself, with an `ORDER BY` of its own. SQLite takes none
    /// there, and reads each in the order of the whole.
    pub(crate) fn merges_what_is_in_order(self) -> bool {
        self == Self::Postgres
    }

    /// The function `(text, part)` that is above zero where the text holds the part.
    pub(crate) fn position(self) -> &'static str {
        match self {
            Self::Sqlite => "instr",
            Self::Postgres => "strpos",
        }
    }
}
