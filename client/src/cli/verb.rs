//! `handoff verb`.

use super::{
    args::CallArgs,
    exit::Exit,
    input,
    output::{Output, pretty, table},
    problem::Problem,
};
use crate::{Caller, Config, Handoff, error_body};
use handoff_proto::verbs::{IdempotencyKey, VERBS};
use serde_json::json;

pub(super) async fn call(args: CallArgs, config: Config, output: &Output) -> Result<Exit, Problem> {
    let request = input::read(&args.file)?;
    let handoff = Handoff::connect(config).await?;
    let caller = Caller::new(args.account, args.principal).sandbox(args.sandbox);
    match handoff.call(&caller, &args.name, &request).await {
        Ok(answer) => {
            output.data(&answer.body, || pretty(&answer.body));
            if answer.status == "submitted" {
                output.talk(&format!("submitted; follow it with: handoff task watch {}", answer.task_id));
            }
            Ok(Exit::Ok)
        }
        Err(error) => {
            let body = error_body(&args.name, &request, &error.to_adcp());
            Err(Problem { body: Some(Box::new(body)), ..Problem::from(error) })
        }
    }
}

pub(super) fn list(output: &Output) -> Exit {
    let key = |key| match key {
        IdempotencyKey::Required => "required",
        IdempotencyKey::Optional => "optional",
        IdempotencyKey::Ignored => "ignored",
    };
    let verbs = VERBS.iter().map(
        |verb| json!({"name": verb.name, "protocol": verb.protocol, "idempotency_key": key(verb.idempotency_key)}),
    );
    output.data(&verbs.collect(), || {
        let rows = VERBS.iter().map(|verb| [verb.name, verb.protocol, key(verb.idempotency_key)].map(str::to_owned));
        table(&["VERB", "PROTOCOL", "IDEMPOTENCY KEY"], rows)
    });
    Exit::Ok
}
