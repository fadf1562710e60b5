//! Temporary reproduction.
use handoff_proto::v1::TaskRef;
use handoff_store::{NewClaim, RegistryOptions};
#[tokio::test(flavor = "multi_thread")]
async fn full() {
    std::fs::write("/tmp/lifesrv/small/ballast", vec![0u8; 1_000_000]).unwrap();
    let registry = handoff_store::connect("sqlite:/tmp/lifesrv/small/r.db", RegistryOptions::default()).await.unwrap();
    let claim = |n: usize| NewClaim {
        task: TaskRef {
            task_id: format!("task_{n:032}"),
            scope: "a".into(),
            principal: "p".into(),
            verb: "create_media_buy".into(),
        },
        protocol: "media-buy".into(),
        idempotency_key: Some(format!("key-{n:032}")),
        request_hash: "0".repeat(64),
        context_json: Some(format!("\"{}\"", "x".repeat(50_000))),
        has_webhook: false,
    };
    let mut n = 0;
    let error = loop {
        n += 1;
        if let Err(error) = registry.claim(&claim(n)).await {
            break error;
        }
    };
    println!("after {n}: {error:?} transient={}", error.is_transient());
    println!("again: {:?}", registry.claim(&claim(n)).await);
    std::fs::remove_file("/tmp/lifesrv/small/ballast").unwrap();
    for _ in 0..3 {
        println!("with room: {:?}", registry.claim(&claim(n)).await);
    }
    let other = handoff_store::connect("sqlite:/tmp/lifesrv/small/r.db", RegistryOptions::default()).await;
    println!("another process: {:?}", other.map(|_| ()));
    if let Ok(o) = handoff_store::connect("sqlite:/tmp/lifesrv/small/r.db", RegistryOptions::default()).await {
        println!("another's claim: {:?}", o.claim(&claim(n + 1)).await);
    }
}
