//! How Acme works; the environment can say otherwise.

use std::{env, path::PathBuf, str::FromStr, time::Duration};

/// How Acme works.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the order book is (`ACME_DATA_DIR`; `.handoff/acme`).
    pub data_dir: PathBuf,
    /// How long curating products for a brief takes (`ACME_CURATION_MS`; 3 seconds).
    pub curation: Duration,
    /// How long booking one line takes (`ACME_BOOKING_MS`; 400 ms).
    pub booking: Duration,
    /// How long one step of a chore in the back office takes (`ACME_CHORE_MS`; 300 ms).
    pub chore_step: Duration,
    /// How many creatives are taken without a review (`ACME_CREATIVES_AT_ONCE`; 5).
    pub creatives_at_once: usize,
    /// How many audience members are matched at once (`ACME_MEMBERS_AT_ONCE`; 1000).
    pub members_at_once: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from(".handoff/acme"),
            curation: Duration::from_secs(3),
            booking: Duration::from_millis(400),
            chore_step: Duration::from_millis(300),
            creatives_at_once: 5,
            members_at_once: 1000,
        }
    }
}

impl Options {
    /// The defaults, and what the environment says otherwise. The error says which variable is wrong and how.
    pub fn from_env() -> Result<Self, String> {
        let default = Self::default();
        let millis = |name, default: Duration| number(name, default.as_millis() as u64).map(Duration::from_millis);
        Ok(Self {
            data_dir: env::var_os("ACME_DATA_DIR").filter(|dir| !dir.is_empty()).map_or(default.data_dir, Into::into),
            curation: millis("ACME_CURATION_MS", default.curation)?,
            booking: millis("ACME_BOOKING_MS", default.booking)?,
            chore_step: millis("ACME_CHORE_MS", default.chore_step)?,
            creatives_at_once: number("ACME_CREATIVES_AT_ONCE", default.creatives_at_once)?,
            members_at_once: number("ACME_MEMBERS_AT_ONCE", default.members_at_once)?,
        })
    }
}

fn number<N: FromStr>(name: &str, default: N) -> Result<N, String> {
    match env::var(name) {
        Ok(text) if !text.is_empty() => {
            text.trim().parse().map_err(|_| format!("{name} must be a whole number, but is {text:?}."))
        }
        _ => Ok(default),
    }
}
