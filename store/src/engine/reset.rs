//! The end of what is kept of sandbox accounts: row by row, each in a transaction of its own, and each as it was seen.

use super::{Engine, MAX_ROWS, Result, now};
use crate::{
    Cleared, Proposal, ProposalCause, ProposalKey, SandboxRequest, Seen, check,
    sql::{Row, reset as sql},
    store::{Store, Transaction},
};
use handoff_proto::v1::TaskRef;

const ACTOR: &str = "sandbox reset";

impl<S: Store> Engine<S> {
    pub(super) async fn requests_to_clear(
        &self,
        scope: Option<&str>,
        after: Option<&TaskRef>,
        limit: u32,
    ) -> Result<Vec<SandboxRequest>> {
        if !may_be_scope(scope) {
            return Ok(Vec::new());
        }
        let after = after.filter(|after| check::may_exist(after));
        let rows = self.store.rows(sql::requests(S::DIALECT, scope, after, limit.min(MAX_ROWS))).await?;
        Ok(rows.iter().map(Row::sandbox_request).collect())
    }

    pub(super) async fn clear_one(&self, task: &TaskRef, seen: Option<Seen>) -> Result<Cleared> {
        if !check::may_exist(task) {
            return Ok(Cleared::Missing);
        }
        let mut transaction = self.store.write().await?;
        // Without its bodies, so that what can't be opened any more can still be cleared.
        let Some(row) = transaction.rows(sql::lock_request(S::DIALECT, task)).await?.pop() else {
            return Ok(Cleared::Missing);
        };
        let found = row.sandbox_request().seen;
        if seen != Some(found) {
            return Ok(Cleared::Kept { seen: found });
        }
        self.delete(&mut transaction, &task.task_id).await?;
        // It may have been offered to a live account, too: then it can be bought again, and stays.
        let cause = ProposalCause {
            actor: ACTOR.to_owned(),
            reason: "its task is cleared".to_owned(),
            ..ProposalCause::task(&task.task_id)
        };
        self.release_all(&mut transaction, &task.task_id, &cause, now()).await?;
        transaction.commit().await?;
        Ok(Cleared::Deleted)
    }

    pub(super) async fn proposals_to_clear(
        &self,
        scope: Option<&str>,
        after: Option<&ProposalKey>,
        limit: u32,
    ) -> Result<Vec<Proposal>> {
        if !may_be_scope(scope) {
            return Ok(Vec::new());
        }
        let after = after.filter(|after| check::may_be_proposal(after));
        let rows = self.store.proposals(sql::proposals(scope, after, limit.min(MAX_ROWS))).await?;
        rows.into_iter().map(Proposal::try_from).collect()
    }

    pub(super) async fn clear_offered(&self, proposal: &ProposalKey, seen: Seen) -> Result<Cleared> {
        if !check::may_be_proposal(proposal) {
            return Ok(Cleared::Missing);
        }
        let mut transaction = self.store.write().await?;
        if transaction.execute(sql::delete_proposal(proposal, seen)).await? > 0 {
            transaction.commit().await?;
            return Ok(Cleared::Deleted);
        }
        let found = transaction.proposals(sql::proposal(proposal)).await?.pop().map(Proposal::try_from).transpose()?;
        Ok(found.map_or(Cleared::Missing, |found| Cleared::Kept {
            seen: Seen { created_at: found.created_at, version: found.version },
        }))
    }

    pub(super) async fn clear_few(&self, few: sql::Few, scope: Option<&str>, dry_run: bool) -> Result<u64> {
        if !may_be_scope(scope) {
            return Ok(0);
        }
        if dry_run {
            let mut transaction = self.store.read().await?;
            let found = transaction.number(sql::count(few, scope)).await?;
            transaction.commit().await?;
            return Ok(u64::try_from(found).unwrap_or(0));
        }
        let mut transaction = self.store.write().await?;
        let cleared = transaction.execute(sql::delete(few, scope)).await?;
        transaction.commit().await?;
        Ok(cleared)
    }
}

fn may_be_scope(scope: Option<&str>) -> bool {
    scope.is_none_or(|scope| !scope.contains('\0'))
}
