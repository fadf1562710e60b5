//! The `acme-seller` binary: `dev` and `worker`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match acme_seller::Options::from_env() {
        Ok(options) => acme_seller::seller_with(options).run(),
        Err(mistake) => acme_seller::refuse_to_start(&mistake),
    }
}
