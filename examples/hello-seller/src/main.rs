//! A corner shop that sells posters in its window.

use handoff::prelude::*;

/// Answered at once: what is for sale.
async fn get_products(_: Context<()>, _request: Value) -> Result<Decision, AdcpError> {
    let metrics = json!({"available_metrics": ["impressions"], "available_reporting_frequencies": ["daily"],
        "expected_delay_minutes": 60, "timezone": "UTC", "supports_webhooks": false, "date_range_support": "date_range"});
    let poster = json!({
        "product_id": "poster", "name": "Poster", "description": "A poster in our window.",
        "publisher_properties": [{"publisher_domain": "corner.example", "selection_type": "all"}],
        "format_options": [{"format_option_id": "a1", "format_kind": "image", "params": {"width": 594, "height": 841}}],
        "pricing_options": [{"pricing_option_id": "cpm", "pricing_model": "cpm", "currency": "EUR", "fixed_price": 4}],
        "delivery_type": "guaranteed", "reporting_capabilities": metrics,
    });
    Ok(Decision::complete(json!({"products": [poster], "cache_scope": "public"})))
}

/// Done by a task handler, while the buyer polls.
async fn sync_creatives(_: Context<()>, request: Value) -> Result<Decision, AdcpError> {
    Ok(Decision::handoff_to_task("print", &request["creatives"]))
}

async fn print(task: TaskContext<()>, creatives: Vec<Value>) -> Result<Value, AdcpError> {
    let mut printed: Vec<Value> = task.last_heartbeat().unwrap_or_default();
    for (number, creative) in (1..).zip(&creatives).skip(printed.len()) {
        task.progress(Progress::step(number, creatives.len() as u32, "printing")).await;
        printed.push(json!({"creative_id": creative["creative_id"], "action": "created"}));
        task.heartbeat(&printed).await?;
    }
    Ok(json!({"creatives": printed}))
}

/// Decided by a person, days later.
async fn create_media_buy(_: Context<()>, request: Value) -> Result<Decision, AdcpError> {
    match request["packages"].as_array() {
        Some(packages) if !packages.is_empty() => Ok(Decision::handoff_to_workflow("ask_the_owner", packages)),
        _ => Err(AdcpError::correctable("INVALID_REQUEST", "Which posters?").field("packages")),
    }
}

async fn ask_the_owner(ctx: Context<()>, packages: Value) -> Result<Acknowledgement, AdcpError> {
    println!("{} wants {packages}. Your decision on {}?", ctx.principal, ctx.task_id);
    Ok(Acknowledgement::wilco())
}

fn main() -> std::process::ExitCode {
    Seller::new("hello-seller", ())
        .verb("get_products", verb(get_products).quick())
        .verb("sync_creatives", verb(sync_creatives).hands_off_to(["print"]))
        .task("print", print)
        .verb("create_media_buy", verb(create_media_buy).hands_off_to(["ask_the_owner"]))
        .enqueue("ask_the_owner", ask_the_owner)
        .run()
}

#[cfg(test)]
mod tests;
