//! placeholder
/// scope
pub const SCOPE: &str = "acct_acme";
/// principal
pub const PRINCIPAL: &str = "agent.buyer.example";
/// x
pub struct World;
/// x
pub fn fresh_key() -> String {
    format!("key-{}", uuid::Uuid::now_v7().simple())
}
