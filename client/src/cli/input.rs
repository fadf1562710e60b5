//! What a command reads: files, stdin, and the user's name.

use super::problem::Problem;
use handoff_proto::limits::MAX_ENCODED_BYTES;
use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
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
        .or_else(registered_user)
        .unwrap_or_else(|| "handoff-cli".to_owned())
}

// Containers and services often have no such variable. Who is not in the file, or on a system without these, stays nameless.
fn registered_user() -> Option<String> {
    let id = fs::metadata("/proc/self").ok()?.uid();
    name_of(id, &fs::read_to_string("/etc/passwd").ok()?)
}

/// The name of a user in a passwd(5) file.
fn name_of(id: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
        (fields.nth(1)?.parse() == Ok(id)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_name_is_found_by_its_id() {
        let passwd = "# users\nroot:x:0:0:root:/root:/bin/sh\nbroken\n:x:7::\n\nana:x:1000:1000::/home/ana:/bin/sh\n";
        let named = [0, 1000, 7, 100].map(|id| name_of(id, passwd));
        assert_eq!(named, [Some("root".to_owned()), Some("ana".to_owned()), None, None]);
    }
}
