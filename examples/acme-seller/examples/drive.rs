#![allow(missing_docs)]
use handoff::client::*;
use serde_json::*;
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let config = Config::from_env().unwrap();
    let handoff = Handoff::connect(config).await.unwrap();
    for name in &args[1..] {
        let verb = name.split('.').next().unwrap();
        let mut request: Value = from_slice(&std::fs::read(format!("examples/acme-seller/requests/{name}.json")).unwrap()).unwrap();
        if request.get("idempotency_key").is_some() { request["idempotency_key"] = json!(format!("drive-{}", std::process::id()) + name); }
        let sandbox = request["account"]["sandbox"] == true || true;
        if let Ok(knobs) = std::env::var("KNOBS") { request["ext"]["acme_test"] = from_str(&knobs).unwrap(); }
        let caller = Caller::new("acct_pinnacle", "agent.pinnacle.example").sandbox(sandbox);
        let start = std::time::Instant::now();
        match handoff.call(&caller, verb, request.to_string().as_bytes()).await {
            Ok(answer) => println!("{name} [{:?}] -> {} {} {}", start.elapsed(), answer.status, answer.task_id, if answer.status=="submitted" {String::new()} else {answer.body.to_string().chars().take(300).collect()}),
            Err(error) => println!("{name} [{:?}] -> ERR {error:?}", start.elapsed()),
        }
    }
}
