//! A key file that is made when there is none, for development environments.

use super::{Key, KeyError, KeySource};
use secrecy::ExposeSecret;
use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

impl KeySource {
    /// The keys in this file, which is made with one fresh key if it is not there; only its owner may read it. Of two processes
    /// at once one makes it, and both use it.
    pub fn file_or_new(path: &Path) -> Result<Self, KeyError> {
        if !path.exists() {
            create(path).map_err(|error| match error {
                Problem::Key(error) => error,
                Problem::Io(error) => KeyError::File { path: path.to_owned(), reason: error.to_string() },
            })?;
        }
        Ok(Self::File(path.to_owned()))
    }
}

enum Problem {
    Key(KeyError),
    Io(std::io::Error),
}

/// Makes a file that only its owner may read, unless it is there. Of two processes at once one makes it.
pub(crate) fn create_private(path: &Path, content: &str) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    // Under another name first: whoever reads the file finds it whole, and nobody's file is replaced.
    let temporary = path.with_extension(format!("{}.tmp", uuid::Uuid::now_v7().simple()));
    let written = write(&temporary, content).and_then(|()| match fs::hard_link(&temporary, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    let removed = fs::remove_file(&temporary);
    written.and(removed)
}

fn create(path: &Path) -> Result<(), Problem> {
    let key = Key::generate(&format!("k-{}", chrono::Utc::now().format("%Y%m%d-%H%M%S"))).map_err(Problem::Key)?;
    let key = key.expose_secret();
    let content = format!("# Keys of this development environment, the active one first.\n{key}\n");
    create_private(path, &content).map_err(Problem::Io)
}

fn write(path: &Path, content: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder() -> std::path::PathBuf {
        std::env::temp_dir().join(format!("handoff-keys-{}", uuid::Uuid::now_v7().simple()))
    }

    #[test]
    fn it_is_made_once_for_its_owner_only() {
        let folder = folder();
        let path = folder.join("sub/keys");
        let made: Vec<String> = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8).map(|_| scope.spawn(|| KeySource::file_or_new(&path).unwrap())).collect();
            let sources = makers.into_iter().map(|maker| maker.join().unwrap());
            sources
                .map(|source| {
                    assert!(source.load().unwrap().is_some());
                    fs::read_to_string(&path).unwrap()
                })
                .collect()
        });
        assert!(made.iter().all(|text| *text == made[0]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let left: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "nothing else is left: {left:?}");
        fs::remove_dir_all(folder).unwrap();
    }
}
