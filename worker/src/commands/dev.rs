//! The command `dev`: a whole development environment in one process tree.

use super::{
    Parts,
    gateway::{self, GatewayArgs},
    worker,
};
use crate::{DevelopmentTls, Port, ServerOptions, TemporalServer, WorkerSettings};
use anyhow::{Context, Result, bail};
use clap::Args;
use handoff_activities::seller::Handlers;
use handoff_client::{
    ApiKeys, CheckStatus, Config, DEFAULT_REGISTRY_URL, Environment, SigningSource, api_key_file_or_new,
    codec::KeySource,
};
use secrecy::{ExposeSecret, SecretString};
use std::{
    fs::{File, TryLockError},
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::net::TcpListener;

const HEALTH_PATIENCE: Duration = Duration::from_secs(5);

/// Where the development environment lives.
#[derive(Args, Clone, Debug)]
pub(crate) struct DevArgs {
    /// Directory of the server's and the registry's files, and of the key that encrypts them unless keys are configured
    #[arg(
        long,
        env = "HANDOFF_DATA_DIR",
        default_value = ".handoff",
        value_name = "DIR",
        help_heading = "Development"
    )]
    data_dir: PathBuf,
    /// Port of the Temporal server; unless given, 7233 or any free one
    #[arg(long, value_name = "PORT", help_heading = "Development")]
    temporal_port: Option<u16>,
    /// Port of Temporal's web UI; unless given, 8233 or any free one
    #[arg(long, value_name = "PORT", help_heading = "Development")]
    ui_port: Option<u16>,
    /// Without Temporal's web UI
    #[arg(long, conflicts_with = "ui_port", help_heading = "Development")]
    no_ui: bool,
    /// Without a worker: start one yourself with the command worker
    #[arg(long, help_heading = "Development")]
    no_worker: bool,
    /// The Temporal CLI, which has the server; looked for on PATH unless given
    #[arg(long, env = "HANDOFF_TEMPORAL_BIN", value_name = "FILE", help_heading = "Development")]
    temporal_bin: Option<PathBuf>,
    /// Without a gateway: start one yourself with the command gateway
    #[arg(long, help_heading = "Development")]
    no_gateway: bool,
    /// Serve the gateway over TLS, as https://localhost:PORT, with a certificate of an authority that is made for it in the data
    /// directory; HANDOFF_PUBLIC_URL is this unless given
    #[arg(long, conflicts_with = "no_gateway", help_heading = "Development")]
    tls: bool,
    /// API key of the agent agent.dev.example; unless given, the one in the directory's file api-key, which is made once. Give it by
    /// the environment: flags are seen in process lists
    #[arg(
        long,
        env = "HANDOFF_DEV_API_KEY",
        hide_env_values = true,
        value_parser = secret,
        value_name = "KEY",
        help_heading = "Development"
    )]
    api_key: Option<SecretString>,
}

const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
// What the development API key stands for.
const PRINCIPAL: &str = "agent.dev.example";

fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

pub(crate) async fn run(
    name: &str,
    mut args: DevArgs,
    gateway_args: &GatewayArgs,
    mut config: Config,
    parts: Parts,
) -> Result<()> {
    if config.environment == Environment::Production {
        bail!(
            "`dev` is not for HANDOFF_ENV=production: it brings a Temporal server that stores in SQLite; run `worker` and `gateway`"
        );
    }
    let address = gateway_args.address().ip();
    if args.tls && !address.is_loopback() && !address.is_unspecified() {
        bail!("--tls is for localhost: HANDOFF_GATEWAY_ADDRESS must be of this machine alone, or all of its addresses");
    }
    // What is printed is used in other directories.
    args.data_dir = std::path::absolute(&args.data_dir)?;
    let _held = hold(&args.data_dir)?;
    if config.encryption.is_none() {
        config.encryption = KeySource::file_or_new(&args.data_dir.join("keys"))?;
    }
    if config.webhooks.signing.is_none() {
        config.webhooks.signing = SigningSource::file_or_new(&args.data_dir.join("webhook-keys.pem"))?;
    }
    let parts = Parts { settings: WorkerSettings { webhooks: config.webhooks.clone(), ..parts.settings }, ..parts };
    let ui_port = (!args.no_ui).then(|| args.ui_port.map_or(Port::Preferably(8233), Port::Exactly));
    let server = TemporalServer::start(&ServerOptions {
        database: args.data_dir.join("temporal.db"),
        port: args.temporal_port.map_or(Port::Preferably(7233), Port::Exactly),
        ui_port,
        metrics_port: None,
        log: args.data_dir.join("temporal.log"),
        binary: args.temporal_bin.clone(),
    })
    .await?;
    config.temporal.address = Some(server.address().to_string());
    if config.registry_url == DEFAULT_REGISTRY_URL {
        config.registry_url = format!("sqlite:{}", args.data_dir.join("registry.db").display());
    }
    let ended = serve(name, &args, gateway_args, config, parts, &server).await;
    let stopped = server.stop().await;
    ended.and(stopped)
}

/// Keeps every other `dev` away from these files for as long as the lock lives: two Temporal servers on one database would
/// undo each other's work. The system releases it, however this process ends.
fn hold(directory: &Path) -> Result<File> {
    let path = directory.join("lock");
    let lock = std::fs::create_dir_all(directory)
        .and_then(|()| File::create(&path))
        .with_context(|| format!("can't make {}", path.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => bail!(
            "another `dev` runs on {}: stop it, or give this one a directory of its own (--data-dir or HANDOFF_DATA_DIR)",
            directory.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("can't lock {}", path.display())),
    }
}

async fn serve(
    name: &str,
    args: &DevArgs,
    gateway_args: &GatewayArgs,
    mut config: Config,
    parts: Parts,
    server: &TemporalServer,
) -> Result<()> {
    let tls = args.tls.then(|| DevelopmentTls::open(&args.data_dir.join("tls"))).transpose()?;
    let listener = if args.no_gateway { None } else { Some(listen(gateway_args).await?) };
    let address = listener.as_ref().map(TcpListener::local_addr).transpose()?;
    let url = address.map(|address| match tls {
        Some(_) => format!("https://localhost:{}", address.port()),
        None => format!("http://{address}"),
    });
    if tls.is_some() && config.public_url.is_none() {
        config.public_url.clone_from(&url);
    }
    let config = &config;
    config.check()?;
    let Parts { handlers, settings, front } = parts;
    let mut places = Places {
        server,
        config,
        gateway: None,
        authority: tls.as_ref().map(DevelopmentTls::authority),
        worker: "none; start one with the command worker".into(),
    };
    let (told, stop) = tokio::sync::watch::channel(false);
    let mut serving = tokio::task::JoinSet::new();
    if let Some((listener, url)) = listener.zip(url) {
        let api_key = match &args.api_key {
            Some(key) => key.clone(),
            None => api_key_file_or_new(&args.data_dir.join("api-key"))?,
        };
        let mut keys = ApiKeys::default();
        keys.add(PRINCIPAL, &api_key)?;
        let gateway =
            gateway::open(name, gateway_args, config, handlers.clone(), &front, settings.contract.clone(), Some(&keys))
                .await?;
        places.gateway = Some((url, api_key));
        let mut stop = stop.clone();
        let stop = async move { drop(stop.wait_for(|told| *told).await) };
        match &tls {
            Some(tls) => serving.spawn(gateway.serve_tls(listener, tls.server(), stop)),
            None => serving.spawn(gateway.serve(listener, stop)),
        };
    }
    let ended = work(name, args, handlers, &settings, places).await;
    let _ = told.send(true);
    while let Some(served) = serving.join_next().await {
        served?;
    }
    ended
}

async fn work(
    name: &str,
    args: &DevArgs,
    handlers: Handlers,
    settings: &WorkerSettings,
    mut places: Places<'_>,
) -> Result<()> {
    if args.no_worker {
        announce(name, &places)?;
        return Ok(super::told_to_stop().await?);
    }
    let worker = worker::connect(places.config, handlers, settings).await?;
    let stop = worker.shutdown_handle();
    let running = worker.run();
    tokio::pin!(running);
    let up = async {
        wait_until_healthy(places.config).await;
        places.worker = format!("this process, on task queue {}", settings.task_queue);
        announce(name, &places)?;
        anyhow::Ok(super::told_to_stop().await?)
    };
    tokio::select! {
        ended = &mut running => return ended,
        told = up => told?,
    }
    eprintln!("{name}: stopping.");
    stop();
    running.await
}

// A development machine may have something else on the usual port.
async fn listen(args: &GatewayArgs) -> Result<TcpListener> {
    let address = args.address();
    match gateway::listen(address).await {
        Err(_) if address == DEFAULT_ADDRESS => gateway::listen(SocketAddr::new(address.ip(), 0)).await,
        listener => listener,
    }
}

// The worker's pollers need a moment to be known to the server. What is still wrong after that is for `handoff doctor` to say.
async fn wait_until_healthy(config: &Config) {
    // The issuer of access tokens is somebody else's, and need not be asked every time.
    let config = Config { jwt: None, ..config.clone() };
    let give_up = tokio::time::Instant::now() + HEALTH_PATIENCE;
    while tokio::time::Instant::now() < give_up {
        let checks = handoff_client::doctor(&config).await;
        if checks.iter().all(|check| check.status != CheckStatus::Fail) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Where everything is.
struct Places<'a> {
    server: &'a TemporalServer,
    config: &'a Config,
    /// Its URL, and a key for it.
    gateway: Option<(String, SecretString)>,
    /// The certificate that the gateway's clients have to trust.
    authority: Option<&'a Path>,
    worker: String,
}

fn announce(name: &str, places: &Places<'_>) -> Result<()> {
    let (server, config) = (places.server, places.config);
    // As this process was called: the seller's binary has all commands of `handoff`, which may not be on the reader's PATH.
    let program = std::env::args().next().unwrap_or_else(|| name.to_owned());
    let mut out = std::io::stdout().lock();
    writeln!(out, "{name} is up. Ctrl-C stops everything.")?;
    writeln!(out, "  Temporal     {}", server.address())?;
    if let Some(ui) = server.ui_address() {
        writeln!(out, "  Temporal UI  http://{ui}")?;
    }
    writeln!(out, "  Registry     {}", config.redacted_registry_url())?;
    if let KeySource::File(path) = &config.encryption {
        writeln!(out, "  Keys         {} (to look inside with Temporal's UI: {program} codec serve)", path.display())?;
    }
    writeln!(out, "  Worker       {}", places.worker)?;
    if let Some((url, key)) = &places.gateway {
        writeln!(out, "  Gateway      {url}/mcp")?;
        writeln!(out, "  API key      {}  (of {PRINCIPAL})", key.expose_secret())?;
    }
    if let Some(authority) = places.authority {
        writeln!(out, "  Authority    {}  (which the gateway's clients have to trust)", authority.display())?;
    }
    if let Some(address) = config.metrics.address() {
        writeln!(out, "  Metrics      http://{address}/metrics")?;
    }
    writeln!(out, "In another terminal:")?;
    writeln!(out, "  export TEMPORAL_ADDRESS={}", server.address())?;
    writeln!(out, "  export HANDOFF_REGISTRY_URL={}", config.redacted_registry_url())?;
    if let KeySource::File(path) = &config.encryption {
        // Other directories' shells need it, too.
        let path = path.canonicalize().unwrap_or_else(|_| path.clone());
        writeln!(out, "  export HANDOFF_ENCRYPTION_KEYS_FILE={}", path.display())?;
    }
    if let Some((url, key)) = &places.gateway {
        writeln!(out, "  export HANDOFF_BUYER_URL={url}/mcp")?;
        writeln!(out, "  export HANDOFF_BUYER_API_KEY={}", key.expose_secret())?;
    }
    if let Some(authority) = places.authority {
        writeln!(out, "  export NODE_EXTRA_CA_CERTS={}", authority.display())?;
        // OpenSSL and Rust know no extra ones: in this terminal they trust nobody else.
        writeln!(out, "  export SSL_CERT_FILE={}", authority.display())?;
    }
    writeln!(out, "  {program} doctor")?;
    Ok(out.flush()?)
}
