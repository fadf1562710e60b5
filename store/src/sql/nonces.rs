//! Statements on nonces.

use super::Statement;
use crate::UsedNonce;

// Of the counters, in seconds.
const STEP: i64 = 10;

/// Writes a nonce, unless it is there and its time is not over.
pub(crate) fn insert(used: &UsedNonce) -> Statement {
    let mut statement = Statement::new("INSERT INTO nonces (keyid, nonce, expires_at) VALUES (");
    statement.bind(&used.keyid).push(", ").bind(&used.nonce).push(", ").bind(used.until);
    statement.push(") ON CONFLICT (keyid, nonce) DO UPDATE SET expires_at = excluded.expires_at");
    statement.push(" WHERE nonces.expires_at <= ").bind(used.now);
    statement
}

/// Counts it. The row is locked until the transaction ends: of those who count at once, each sees the others.
pub(crate) fn count(used: &UsedNonce) -> Statement {
    let mut statement = Statement::new("INSERT INTO nonce_counts (keyid, expires_at, nonces) VALUES (");
    statement.bind(&used.keyid).push(", ").bind(step_of(used.until)).push(", 1)");
    statement.push(" ON CONFLICT (keyid, expires_at) DO UPDATE SET nonces = nonce_counts.nonces + 1");
    statement
}

/// How many of the key's nonces are alive.
pub(crate) fn alive(used: &UsedNonce) -> Statement {
    // PostgreSQL makes a NUMERIC of a sum.
    let mut statement = Statement::new("SELECT CAST(COALESCE(SUM(nonces), 0) AS BIGINT) FROM nonce_counts");
    statement.push(" WHERE keyid = ").bind(&used.keyid).push(" AND expires_at > ").bind(used.now);
    statement
}

/// Deletes what nobody asks for any more.
pub(crate) fn prune(now: i64) -> [Statement; 2] {
    ["DELETE FROM nonces WHERE expires_at <= ", "DELETE FROM nonce_counts WHERE expires_at <= "].map(|text| {
        let mut statement = Statement::new(text);
        statement.bind(now);
        statement
    })
}

fn step_of(until: i64) -> i64 {
    until.div_euclid(STEP).saturating_add(1).saturating_mul(STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_lives_at_least_as_long_as_what_it_counts() {
        for until in [0, 1, 9, 10, 11, 1_776_520_860, -1] {
            let step = step_of(until);
            assert!(step > until && step - until <= STEP && step % STEP == 0, "{until}: {step}");
        }
    }
}
