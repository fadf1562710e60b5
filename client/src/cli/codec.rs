//! `handoff codec`: the endpoint for Temporal's UI and CLI, and keys.

use super::{
    args::{CodecCommand, GenerateKeyArgs, ServeCodecArgs},
    exit::Exit,
    output::Output,
    problem::Problem,
};
use crate::{
    Config, ConfigError, Error,
    codec::{self, CodecServer, Key, ServeError},
};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

pub(super) async fn run(command: CodecCommand, config: &Config, output: &Output) -> Result<Exit, Problem> {
    match command {
        CodecCommand::Serve(args) => serve(args, config, output).await,
        CodecCommand::GenerateKey(args) => generate_key(args, output),
    }
}

async fn serve(args: ServeCodecArgs, config: &Config, output: &Output) -> Result<Exit, Problem> {
    let keys = config.encryption.load().map_err(|error| Error::from(ConfigError::from(error)))?;
    let keys = keys.ok_or_else(|| {
        Problem::usage("there are no keys to decode with: set HANDOFF_ENCRYPTION_KEYS or HANDOFF_ENCRYPTION_KEYS_FILE")
    })?;
    let server = CodecServer { keys, token: args.token, origins: args.cors_origin };
    let unusable = |error: std::io::Error| Problem::usage(format!("{} can't be served: {error}", args.listen));
    // Before the port is taken, so that what is wrong with the settings is said first.
    drop(codec::router(server.clone()).map_err(refused)?);
    let listener = TcpListener::bind(args.listen).await.map_err(unusable)?;
    let address = listener.local_addr().map_err(unusable)?;
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt()).map_err(unusable)?, signal(SignalKind::terminate()).map_err(unusable)?);
    let url = format!("http://{address}");
    output.item(&json!({"url": url}), || url.clone());
    output
        .talk(&format!("temporal workflow show --codec-endpoint {url} --codec-auth \"Bearer $HANDOFF_CODEC_TOKEN\" …"));
    if !address.ip().is_loopback() {
        output.talk("warning: this is plain HTTP; put a proxy with TLS in front of it.");
    }
    let told_to_stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    codec::serve(listener, server, told_to_stop).await.map_err(refused)?;
    Ok(Exit::Ok)
}

fn refused(error: ServeError) -> Problem {
    Problem::usage(error.to_string())
}

fn generate_key(args: GenerateKeyArgs, output: &Output) -> Result<Exit, Problem> {
    let id = args.id.unwrap_or_else(|| format!("k-{}", chrono::Utc::now().format("%Y%m%d-%H%M%S")));
    let key = Key::generate(&id).map_err(|error| Error::from(ConfigError::from(error)))?;
    let text = key.expose_secret();
    output.data(&json!({"id": id, "key": text}), || text.to_owned());
    output.talk("Keep it in a secret store. First of HANDOFF_ENCRYPTION_KEYS it encrypts; anywhere it decrypts.");
    Ok(Exit::Ok)
}
