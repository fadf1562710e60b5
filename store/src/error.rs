//! What can go wrong with the registry.

/// An error of the registry. Its messages name neither connection strings nor bodies.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The database can't be reached, is locked or is shutting down; the same call may succeed later.
    #[error("the registry is unavailable, try again: {0}")]
    Unavailable(String),
    /// The cursor is not one that this registry gave for this query.
    #[error("the cursor does not belong to this query")]
    InvalidCursor,
    /// A filter or page size outside its range; names the field.
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
    /// The schema is newer than this build, or a migration was changed.
    #[error("the registry's schema does not fit this build: {0}")]
    Schema(String),
    /// A stored value can't be read back.
    #[error("the registry holds a value that can't be read: {0}")]
    Corrupt(String),
    /// Anything else that the database refused.
    #[error("the registry refused: {0}")]
    Database(String),
}

impl RegistryError {
    /// May the same call succeed later?
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
