//! What a verb works with: the streams, and, once it asks for it, the connection.

use std::time::Duration;

use backstay_api::causes::chain;
use backstay_api::meta;
use backstay_api::resources::Resource;
use serde_json::Value;

use crate::Globals;
use crate::config;
use crate::discovery::{self, Resolver};
use crate::duration;
use crate::error::{Failure, Outcome};
use crate::io::Io;
use crate::memory;
use crate::server::{Call, Server};

/// Flags and streams; enough for verbs that need no server.
#[derive(Clone)]
pub struct App {
    pub globals: Globals,
    pub io: Io,
    /// A connection made by someone else; otherwise the flags say where to go.
    pub client: Option<kube::Client>,
    /// How the program was called: `backstay`, or `kubectl backstay`.
    pub program: &'static str,
    /// The user's editor, as a shell understands it.
    pub editor: String,
}

/// A connection, and the namespace to work in.
#[derive(Clone)]
pub struct Session {
    pub server: Server,
    pub resolver: Resolver,
    pub namespace: String,
    pub namespace_given: bool,
    pub io: Io,
}

impl App {
    pub async fn connect(&self) -> Outcome<Session> {
        let timeout = self.timeout()?;
        let verbosity = self.globals.verbosity;
        if let Some(client) = &self.client {
            let namespace = self.globals.namespace.clone();
            let namespace_given = namespace.is_some();
            let namespace = namespace.unwrap_or_else(|| client.default_namespace().to_string());
            let server = Server::new(client.clone(), "in-process".into(), timeout, verbosity, self.io.clone());
            return Ok(self.session(server, namespace, namespace_given));
        }
        let mut target = config::target(&self.globals).await?;
        let agent = http::HeaderValue::from_static(concat!("backstay/", env!("CARGO_PKG_VERSION")));
        target.config.headers.push((http::header::USER_AGENT, agent));
        let address = target.config.cluster_url.authority().map(ToString::to_string).unwrap_or_default();
        let client = kube::Client::try_from(target.config).map_err(|error| Failure::plain(chain(&error)))?;
        // Reading the configuration took a parser of YAML and one of certificates.
        memory::let_go_of_the_program();
        let server = Server::new(client, address, timeout, verbosity, self.io.clone());
        Ok(self.session(server, target.namespace, target.namespace_given))
    }

    fn session(&self, server: Server, namespace: String, namespace_given: bool) -> Session {
        let resolver = Resolver::new(server.clone());
        Session { server, resolver, namespace, namespace_given, io: self.io.clone() }
    }

    /// Whole seconds or a duration; 0: none.
    fn timeout(&self) -> Outcome<Option<Duration>> {
        let text = &self.globals.request_timeout;
        let parsed = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => duration::parse(text).map_err(|_| {
                Failure::plain(
                    "Invalid timeout value. Timeout must be a single integer in seconds, or an integer followed by a \
                     corresponding time unit (e.g. 1s | 2m | 3h)",
                )
            })?,
        };
        Ok(Some(parsed).filter(|timeout| !timeout.is_zero()))
    }
}

impl Session {
    /// Events about an object, oldest first.
    pub async fn events_about(&self, object: &Value) -> Outcome<Vec<Value>> {
        let namespace = meta::namespace(object);
        let mut selector = format!("involvedObject.name={}", meta::name(object));
        for (field, value) in [
            ("namespace", namespace.unwrap_or("")),
            ("kind", meta::str_at(object, &["kind"])),
            ("uid", meta::uid(object)),
        ] {
            if !value.is_empty() {
                selector.push_str(&format!(",involvedObject.{field}={value}"));
            }
        }
        let path = match namespace {
            Some(namespace) => format!("/api/v1/namespaces/{namespace}/events"),
            None => "/api/v1/events".to_string(),
        };
        let list = self.server.list(&Call::get(path).query("fieldSelector", selector)).await?;
        Ok(meta::list_at(&list, &["items"]).to_vec())
    }

    /// The object as the server has it now.
    pub async fn get(&self, resource: &Resource, namespace: Option<&str>, name: &str) -> Outcome<Value> {
        self.server.json(&Call::get(discovery::object_path(resource, namespace, name))).await
    }
}
