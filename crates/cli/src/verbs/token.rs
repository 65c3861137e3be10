//! `token`: tokens by which machines join, as Kubernetes keeps them: Secrets of a type of their own in `kube-system`.

use backstay_api::{decode, meta, servers, time};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config;
use crate::error::{Failure, Outcome, quoted};
use crate::output::grid;
use crate::server::Call;
use crate::session::{App, Session};

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const PREFIX: &str = "bootstrap-token-";
const KIND: &str = "bootstrap.kubernetes.io/token";
/// Letters and digits of tokens.
const LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

#[derive(Clone, Debug, clap::Subcommand)]
pub enum Token {
    Create(CreateArgs),
    /// Tokens that are good, and until when
    List(ListArgs),
    Delete(DeleteArgs),
}

/// Make a token, and print the command that joins a machine with it
///
/// Whoever has the token can make a machine a node of the fleet until it expires or is deleted. A node that is there
/// and ready is never replaced by it.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  # For the next 24 hours
  backstay token create
  # For ten minutes, with a word about what it is for
  backstay token create --ttl 10m --description 'rack 7'
  # For machines that reach the servers under other names
  backstay token create --agent-server https://a.example:6443,https://b.example:6443
  # The token alone
  backstay token create -o token")]
pub struct CreateArgs {
    /// How long it is good, such as 30m or 24h; 0 for ever
    #[arg(long, value_name = "DURATION", default_value = "24h")]
    ttl: String,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Under which addresses agents reach the servers [default: those that several servers have announced, else that of
    /// the kubeconfig]
    #[arg(long, value_name = "URL", value_delimiter = ',')]
    agent_server: Vec<String>,
    /// command (the command that joins a machine), token, or json
    #[arg(short, long, value_name = "FORMAT", default_value = "command")]
    output: String,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    /// json, or nothing for a table
    #[arg(short, long, value_name = "FORMAT", default_value = "")]
    output: String,
}

/// Revoke tokens; machines that have joined with them stay
#[derive(Clone, Debug, clap::Args)]
pub struct DeleteArgs {
    /// Tokens, or the parts before the dot
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

pub async fn run(app: &App, token: Token) -> Outcome {
    match token {
        Token::Create(args) => create(app, args).await,
        Token::List(args) => list(app, &args).await,
        Token::Delete(args) => delete(app, &args).await,
    }
}

async fn create(app: &App, args: CreateArgs) -> Outcome {
    if !["command", "token", "json"].contains(&args.output.as_str()) {
        return Err(Failure::plain(format!(
            "--output must be one of [command json token], not {}",
            quoted(&args.output)
        )));
    }
    let expiration = expiration(&args.ttl, Timestamp::now())?;
    let session = app.connect().await?;
    let join = join_words(app, &session, &args.agent_server).await?;
    let (id, secret) = (random_word(6), random_word(16));
    session.server.json(&Call::post(SECRETS, &secret_object(&id, &secret, &args.description, expiration))).await?;
    let token = format!("{id}.{secret}");
    let command = format!("backstay agent --server {} --token {token} {}", join.servers.join(","), join.trust);
    match args.output.as_str() {
        "token" => app.io.out(&format!("{token}\n"))?,
        "json" => {
            let shown = json!({ "token": token, "expires": expiration.map(|at| at.to_string()), "command": command });
            app.io.out(&format!("{shown}\n"))?;
        }
        _ => app.io.out(&format!("{command}\n"))?,
    }
    if join.servers.iter().all(|server| servers::is_loopback(server)) {
        app.io.err_line(&format!(
            "Note: machines elsewhere cannot reach {}: let the server listen on an address of the network, and name it \
             with --agent-server.",
            join.servers.join(" or ")
        ));
    }
    Ok(())
}

/// What an agent is told besides the token: where the servers are, and how to know them.
struct Join {
    servers: Vec<String>,
    trust: String,
}

async fn join_words(app: &App, session: &Session, named: &[String]) -> Outcome<Join> {
    let config = config::target(&app.globals).await?.config;
    let own = config.cluster_url.to_string().trim_end_matches('/').to_string();
    let mut servers = match named {
        [] => announced(session, &own).await,
        named => named.to_vec(),
    };
    if servers.is_empty() {
        servers.push(own);
    }
    let authorities = config.root_cert.unwrap_or_default();
    let hashes: Vec<String> =
        authorities.iter().filter_map(|der| Some(format!("--ca-cert-hash sha256:{}", key_hash(der)?))).collect();
    match hashes.is_empty() {
        true => Err(Failure::plain(
            "the kubeconfig holds no certificate authority, by which an agent could know the server",
        )),
        false => Ok(Join { servers, trust: hashes.join(" ") }),
    }
}

/// The servers that have announced themselves. Whoever may not see them names them, or has the one of the kubeconfig.
async fn announced(session: &Session, own: &str) -> Vec<String> {
    let leases = session.server.list(&Call::get(servers::PATH).query("labelSelector", servers::SELECTOR)).await;
    let leases = leases.unwrap_or_default();
    servers::urls(meta::list_at(&leases, &["items"]), own).into_iter().collect()
}

/// Of the public key of a certificate, with its algorithm: what kubeadm calls the discovery hash.
fn key_hash(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let digest = Sha256::digest(certificate.tbs_certificate.subject_pki.raw);
    Some(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn expiration(ttl: &str, now: Timestamp) -> Outcome<Option<Timestamp>> {
    if ttl == "0" {
        return Ok(None);
    }
    let ttl: SignedDuration =
        ttl.parse().map_err(|_| Failure::plain(format!("--ttl {}: write it like 30m or 24h", quoted(ttl))))?;
    match ttl.is_negative() {
        true => Err(Failure::plain("--ttl must not be negative")),
        false if ttl.is_zero() => Ok(None),
        false => Ok(Some(now + ttl)),
    }
}

fn random_word(length: usize) -> String {
    // As many letters as divide the range evenly are taken, so that none is likelier.
    let mut word = String::new();
    while word.len() < length {
        let byte: u8 = rand::random();
        if byte < 252 {
            word.push(char::from(LETTERS[usize::from(byte % 36)]));
        }
    }
    word
}

fn secret_object(id: &str, secret: &str, description: &str, expiration: Option<Timestamp>) -> Value {
    let mut data = json!({
        "token-id": id, "token-secret": secret,
        "usage-bootstrap-authentication": "true", "usage-bootstrap-signing": "true",
        "auth-extra-groups": "system:bootstrappers:backstay:agents",
    });
    if !description.is_empty() {
        data["description"] = description.into();
    }
    if let Some(at) = expiration {
        data["expiration"] = time::seconds(at).into();
    }
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": KIND,
        "metadata": { "name": format!("{PREFIX}{id}"), "namespace": "kube-system" }, "stringData": data,
    })
}

async fn list(app: &App, args: &ListArgs) -> Outcome {
    let session = app.connect().await?;
    let tokens = tokens(&session).await?;
    if args.output == "json" {
        return app.io.out(&format!("{}\n", Value::from(tokens)));
    }
    if !args.output.is_empty() {
        return Err(Failure::plain(format!("--output must be json, not {}", quoted(&args.output))));
    }
    let mut rows = vec!["TOKEN\tEXPIRES\tDESCRIPTION".to_string()];
    for token in &tokens {
        let text = |field: &str| meta::str_at(token, &[field]).to_string();
        let expires = match text("expires") {
            at if at.is_empty() => "<never>".to_string(),
            at => at,
        };
        rows.push(format!("{}\t{expires}\t{}", text("token"), text("description")));
    }
    app.io.out(&grid::layout(&rows))
}

/// Tokens that can be used to join, with their secrets, by id.
async fn tokens(session: &Session) -> Outcome<Vec<Value>> {
    let list = session.server.list(&Call::get(SECRETS).query("fieldSelector", format!("type={KIND}"))).await?;
    let text = |secret: &Value, key: &str| {
        let bytes = decode::base64_bytes(meta::str_at(secret, &["data", key])).unwrap_or_default();
        String::from_utf8(bytes).unwrap_or_default()
    };
    let shown = meta::list_at(&list, &["items"]).iter().map(|secret| {
        json!({
            "token": format!("{}.{}", text(secret, "token-id"), text(secret, "token-secret")),
            "expires": text(secret, "expiration"), "description": text(secret, "description"),
        })
    });
    Ok(shown.collect())
}

async fn delete(app: &App, args: &DeleteArgs) -> Outcome {
    let session = app.connect().await?;
    let mut failures = Vec::new();
    for given in &args.ids {
        let id = given.split('.').next().unwrap_or_default();
        let path = format!("{SECRETS}/{PREFIX}{id}");
        match session.server.json(&Call::delete(path, &json!({}))).await {
            Ok(_) => app.io.out(&format!("token \"{id}\" deleted\n"))?,
            Err(failure) => failures.push(failure),
        }
    }
    Failure::from_list(failures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_letters_and_digits() {
        let word = random_word(1000);
        assert!(word.len() == 1000 && word.bytes().all(|byte| LETTERS.contains(&byte)));
        assert_ne!(random_word(16), random_word(16));
    }

    #[test]
    fn how_long_a_token_is_good() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let check = |ttl: &str, expected: Option<&str>| {
            let seen = expiration(ttl, now).ok().map(|at| at.map(|at| at.to_string()).unwrap_or_default());
            assert_eq!(seen.as_deref(), expected, "{ttl}");
        };
        check("24h", Some("2026-01-02T00:00:00Z"));
        check("10m", Some("2026-01-01T00:10:00Z"));
        check("0", Some(""));
        check("0s", Some(""));
        check("-1h", None);
        check("soon", None);
    }

    #[test]
    fn the_secret_is_kubernetes_own() {
        let object = secret_object("abcdef", "0123456789abcdef", "rack 7", None);
        assert_eq!(object["metadata"]["name"], "bootstrap-token-abcdef");
        assert_eq!(object["stringData"].get("expiration"), None);
    }
}
