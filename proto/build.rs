//! Compiles the contract (`proto/handoff/v1/*.proto`) to prost types with canonical protobuf-JSON, without protoc.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 5] = [
    "proto/handoff/v1/common.proto",
    "proto/handoff/v1/task.proto",
    "proto/handoff/v1/decision.proto",
    "proto/handoff/v1/activity.proto",
    "proto/handoff/v1/housekeeping.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    prost_build::Config::new()
        .extern_path(".google.protobuf.Duration", "::pbjson_types::Duration")
        .extern_path(".google.protobuf.Timestamp", "::pbjson_types::Timestamp")
        .compile_fds(descriptors.clone())?;
    let mut json = pbjson_build::Builder::new();
    for file in descriptors.file {
        json.register_file_descriptor(file);
    }
    json.ignore_unknown_fields()
        .extern_path(".google.protobuf.Duration", "::pbjson_types::Duration")
        .extern_path(".google.protobuf.Timestamp", "::pbjson_types::Timestamp")
        .build(&[".handoff.v1"])?;
    // pbjson reads numbers through an untagged enum, which serde_json's `arbitrary_precision` breaks.
    let generated = out.join("handoff.v1.serde.rs");
    let code = fs::read_to_string(&generated)?
        .replace("::pbjson::private::NumberDeserialize", "crate::number::NumberDeserialize");
    fs::write(generated, code)?;
    Ok(())
}
