//! What can go wrong with the registry.

use crate::CipherError;
use sqlx::migrate::MigrateError;

/// An error of the registry. Its messages name neither connection strings nor bodies.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The database can't be reached, is locked or is shutting down; the same call may succeed later.
    #[error("the registry is unavailable, try again: {0}")]
    Unavailable(String),
    /// The cursor is not one that this registry gave for this query.
    #[error("the cursor does not belong to this query")]
    InvalidCursor,
    /// An argument outside its range; names the field.
    #[error("{field}: {message}")]
    InvalidQuery {
        /// Path of the offending field.
        field: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The registry's URL names no database that is supported.
    #[error("the registry URL must begin with sqlite: or postgres:")]
    UnsupportedUrl,
    /// The registry's URL names a supported database, but not in a way that can be used.
    #[error("the registry URL can't be used: {0}")]
    InvalidUrl(&'static str),
    /// The schema is newer than this build, or a migration was changed.
    #[error("the registry's schema does not fit this build: {0}")]
    Schema(String),
    /// A stored value can't be read back.
    #[error("the registry holds a value that can't be read: {0}")]
    Corrupt(String),
    /// A value can't be sealed or opened. Nothing was written.
    #[error("the registry's {column} of {task_id}: {error}")]
    Sealed {
        /// Whose.
        task_id: String,
        /// Which.
        column: &'static str,
        /// Why.
        error: CipherError,
    },
    /// The keys can't be used.
    #[error("the registry's encryption: {0}")]
    Keys(CipherError),
    /// A secret came, and there are no keys to seal it with. Nothing was written.
    #[error(
        "there are no keys to seal a buyer's secret with: set HANDOFF_ENCRYPTION_KEYS or HANDOFF_ENCRYPTION_KEYS_FILE"
    )]
    NoKeys,
    /// Anything else that the database refused.
    #[error("the registry refused: {0}")]
    Database(String),
}

impl RegistryError {
    /// May the same call succeed later?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) => true,
            Self::Sealed { error, .. } | Self::Keys(error) => error.is_transient(),
            _ => false,
        }
    }

    /// What an error means that is not a database's own.
    pub(crate) fn from_sqlx(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed => Self::Unavailable(error.to_string()),
            sqlx::Error::ColumnDecode { index, .. } => Self::Corrupt(format!("column {index}")),
            sqlx::Error::Decode(_) | sqlx::Error::ColumnNotFound(_) | sqlx::Error::TypeNotFound { .. } => {
                Self::Corrupt(error.to_string())
            }
            // Its message may hold parts of the URL.
            sqlx::Error::Configuration(_) => Self::InvalidUrl("its settings can't be read"),
            // Only the message: details may hold values.
            sqlx::Error::Database(database) => Self::Database(database.message().to_owned()),
            other => Self::Database(other.to_string()),
        }
    }

    pub(crate) fn from_migration(error: MigrateError, refused: fn(sqlx::Error) -> Self) -> Self {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => refused(error),
            MigrateError::VersionMissing(version) => {
                Self::Schema(format!("migration {version} is unknown: the schema is newer than this build"))
            }
            other => Self::Schema(other.to_string()),
        }
    }
}
