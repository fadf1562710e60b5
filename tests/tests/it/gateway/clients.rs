//! Clients that others wrote, unmodified.

use anyhow::{Context, Result};
use handoff_tests::{
    Kind, World, eventually,
    front::{API_KEY, Acme, Front, acme_request},
};
use serde_json::{Value, json};
use std::process::Stdio;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// The protocol's own client for Python.
struct Python {
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Python {
    async fn start(front: &Front) -> Result<Self> {
        let python = std::env::var("HANDOFF_BUYER_PYTHON").context("run make test, which sets HANDOFF_BUYER_PYTHON")?;
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/programs/buyer.py"))
            .arg(front.url())
            .env("BUYER_API_KEY", API_KEY)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let orders = child.stdin.take().context("a pipe")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe")?).lines();
        let mut client = Self { _child: child, orders, answers };
        client.read().await?;
        Ok(client)
    }

    async fn read(&mut self) -> Result<Value> {
        let line = self.answers.next_line().await?.context("the client is gone")?;
        Ok(serde_json::from_str(&line)?)
    }

    async fn call(&mut self, call: &str, request: &Value) -> Value {
        let order = json!({"call": call, "request": request}).to_string() + "\n";
        self.orders.write_all(order.as_bytes()).await.expect("the client reads");
        let answer = self.read().await.expect("the client answers");
        assert_eq!(answer.get("raised"), None, "{call}: {answer}");
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocols_python_client_buys_on_each_arm() {
    let world = World::new(Kind::Postgres).await.unwrap();
    let acme = Acme::new(&world).unwrap();
    let _worker = acme.worker().unwrap();
    let front = acme.gateway().await.unwrap();
    let mut buyer = Python::start(&front).await.unwrap();

    let capabilities = buyer.call("get_adcp_capabilities", &json!({})).await;
    assert_eq!(capabilities["success"], true, "{capabilities}");
    let protocols = capabilities["data"]["supported_protocols"].as_array().unwrap();
    assert!(protocols.contains(&json!("media_buy")), "{capabilities}");

    let products = buyer.call("get_products", &acme_request("get_products.brief")).await;
    assert_eq!((&products["success"], &products["status"]), (&json!(true), &json!("completed")), "{products}");
    assert!(!products["data"]["products"].as_array().unwrap().is_empty(), "{products}");

    let at_once = buyer.call("create_media_buy", &acme_request("create_media_buy.non_guaranteed")).await;
    assert_eq!(at_once["success"], true, "{at_once}");
    assert!(at_once["data"]["media_buy_id"].is_string(), "{at_once}");

    let refused = buyer.call("create_media_buy", &acme_request("create_media_buy.budget_too_low")).await;
    assert_eq!((&refused["success"], &refused["adcp_error"]["code"]), (&json!(false), &json!("BUDGET_TOO_LOW")));

    for (request, review) in [
        ("create_media_buy.guaranteed", None),
        ("create_media_buy.insertion_order", Some("approve_insertion_order.json")),
    ] {
        let submitted = buyer.call("create_media_buy", &acme_request(request)).await;
        assert_eq!(submitted["data"]["status"], "submitted", "{submitted}");
        let task_id = submitted["data"]["task_id"].as_str().unwrap().to_owned();
        if let Some(review) = review {
            let reviews = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/acme-seller/reviews/");
            let file = format!("{reviews}{review}");
            acme.handoff(&["task", "complete", &task_id, "--file", &file]).await.unwrap();
        }
        let buyer = tokio::sync::Mutex::new(&mut buyer);
        let done = eventually("the task is completed", || async {
            let poll = json!({"task_id": task_id, "include_result": true});
            let polled = buyer.lock().await.call("get_task_status", &poll).await;
            assert_eq!(polled["success"], true, "{polled}");
            (polled["data"]["status"] == "completed").then_some(polled)
        })
        .await;
        assert!(done["data"]["result"]["media_buy_id"].is_string(), "{done}");
    }
}
