//! Handoff's sender as a process. `tests/programs/bench_webhooks.py` is the same of the Python SDK, and obeys the same words.

use super::told::Teller;
use anyhow::{Result, anyhow, bail};
use futures::{StreamExt, stream};
use handoff_tests::fresh_key;
use handoff_webhooks::{Egress, EgressOptions, Policy, Registration, Sender, keys::SigningKeys};
use serde_json::{Value, json};
use std::{path::Path, time::Instant};

/// `prepare N` makes N bodies of the template, `send AT_ONCE` sends them.
pub(crate) async fn run(directory: &Path, url: &str, template: &Path) -> Result<()> {
    let mut template: Value = serde_json::from_slice(&std::fs::read(template)?)?;
    // As in production, but for where it may go.
    let allowed = "127.0.0.0/8,::1".parse().map_err(|error| anyhow!("{error}"))?;
    let policy = Policy { https_only: true, allowed, ..Policy::default() };
    let roots = Some(directory.join("ca.pem"));
    let egress = Egress::new(&EgressOptions { allowed: policy.allowed.clone(), roots, ..EgressOptions::default() })?;
    let sender = Sender::new(egress, Some(SigningKeys::read(&directory.join("signing-key.pem"))?));
    let config = json!({"url": url, "operation_id": template["operation_id"], "token": template["token"]});
    let (mut teller, mut bodies) = (Teller::new(), Vec::new());
    while let Some((word, number)) = teller.next().await? {
        let answer = match word.as_str() {
            "prepare" => {
                bodies = (0..number)
                    .map(|_| {
                        template["idempotency_key"] = json!(format!("whk_{}", fresh_key()));
                        template.to_string().into_bytes()
                    })
                    .collect();
                json!({"prepared": number})
            }
            "send" => {
                let begun = Instant::now();
                let arrived = send(&sender, &config, &policy, &bodies, number).await?;
                json!({"arrived": arrived, "seconds": begun.elapsed().as_secs_f64()})
            }
            _ => bail!("{word} is neither prepare nor send"),
        };
        teller.answer(&answer).await?;
    }
    Ok(())
}

// What an attempt is, without the registry and Temporal: the registration is read, the body signed and sent.
async fn send(sender: &Sender, config: &Value, policy: &Policy, bodies: &[Vec<u8>], at_once: usize) -> Result<usize> {
    let attempts = stream::iter(bodies).map(async |body| {
        let registration = Registration::read(config, policy).map_err(|error| anyhow!("{error:?}"))?;
        let attempt = sender.attempt(&registration, body, chrono::Utc::now().timestamp()).await;
        match attempt.class {
            Some(class) => Err(anyhow!("{class}, status {:?}", attempt.status)),
            None => Ok(()),
        }
    });
    let results: Vec<Result<()>> = attempts.buffer_unordered(at_once).collect().await;
    let arrived = results.len();
    results.into_iter().collect::<Result<Vec<()>>>()?;
    Ok(arrived)
}
