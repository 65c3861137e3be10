//! `version`: of this program, and of the server.

use backstay_api::meta;
use serde_json::{Value, json};

use crate::error::{Failure, Outcome};
use crate::output::{json as json_output, yaml};
use crate::server::Call;
use crate::session::App;

/// Show the versions of this program and of the server
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only of this program
    #[arg(long)]
    client: bool,
    /// json or yaml
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<String>,
}

pub async fn run(app: &App, args: Args) -> Outcome {
    let mut versions = json!({"clientVersion": {"gitVersion": concat!("v", env!("CARGO_PKG_VERSION"))}});
    let mut failure = None;
    if !args.client {
        match server_version(app).await {
            Ok(version) => versions["serverVersion"] = version,
            Err(error) => failure = Some(error),
        }
    }
    app.io.out(&text(&args, &versions)?)?;
    failure.map_or(Ok(()), Err)
}

async fn server_version(app: &App) -> Outcome<Value> {
    let session = app.connect().await?;
    session.server.json(&Call::get("/version")).await
}

fn text(args: &Args, versions: &Value) -> Outcome<String> {
    match args.output.as_deref() {
        Some("json") => Ok(json_output::text(versions)),
        Some("yaml") => Ok(yaml::text(versions)),
        Some(_) => Err(Failure::plain("--output must be 'yaml' or 'json'")),
        None => {
            let version = |which: &str| meta::str_at(versions, &[which, "gitVersion"]).to_string();
            let server = match version("serverVersion") {
                version if version.is_empty() => String::new(),
                version => format!("Server Version: {version}\n"),
            };
            Ok(format!("Client Version: {}\n{server}", version("clientVersion")))
        }
    }
}
