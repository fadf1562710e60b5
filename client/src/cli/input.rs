//! What a command reads: files, stdin, and the user's name.

use super::problem::Problem;
use handoff_proto::limits::MAX_ENCODED_BYTES;
use std::{
    fs::File,
    io::{self, Read},
};

/// A file's content, or stdin's for `-`. One byte past the limit is read, so that what is too large is refused as such.
pub(super) fn read(path: &str) -> Result<Vec<u8>, Problem> {
    let limit = u64::try_from(MAX_ENCODED_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let mut content = Vec::new();
    let read = match path {
        "-" => io::stdin().lock().take(limit).read_to_end(&mut content),
        path => File::open(path).and_then(|file| file.take(limit).read_to_end(&mut content)),
    };
    match read {
        Ok(_) => Ok(content),
        Err(error) => Err(Problem::usage(format!("{path} can't be read: {error}"))),
    }
}

/// Who decides, unless told.
pub(super) fn user() -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .filter_map(|name| std::env::var(name).ok())
        .find(|name| !name.trim().is_empty())
        .unwrap_or_else(|| "handoff-cli".to_owned())
}
