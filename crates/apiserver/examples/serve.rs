//! Serves the API over plain HTTP on loopback, from memory, to everybody as an administrator. For probing the API
//! itself: no controllers run.
//!
//! `cargo run -p backstay-apiserver --example serve [ADDRESS]`

use std::error::Error;
use std::sync::Arc;

use backstay_apiserver::{ApiServer, Config, UserInfo, as_user, identity};
use backstay_store::MemoryStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let mut config = Config::new(Arc::new(MemoryStore::new()));
    config.disabled_admission_plugins = vec!["ServiceAccount".into()];
    let server = ApiServer::new(config)?;
    server.bootstrap().await?;
    let router = as_user(server.router(), UserInfo::new("admin", &[identity::MASTERS]));
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("serving http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}
