//! What a machine that has joined keeps: a kubeconfig with a certificate of its own.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use backstay_api::Entropy;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::JoinError;
use crate::servers::{self, Server, Servers};

/// In the agent's data directory.
const FILE: &str = "agent.kubeconfig";
/// The name of the first server in it; others are numbered.
const CLUSTER: &str = "backstay";
/// What the names of those begin with that servers have told of.
const ANNOUNCED: &str = "announced";

/// A node's identity towards the servers of one authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Those that this machine was told of, each `https://HOST:PORT`; at least one.
    pub servers: Vec<String>,
    /// Others, of which servers have told it.
    pub announced: Vec<String>,
    pub node: String,
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
}

impl Credentials {
    pub fn file(data_dir: &Path) -> PathBuf {
        data_dir.join(FILE)
    }

    /// What is kept in the directory; `None` if this machine has not joined.
    ///
    /// # Errors
    /// `Kept`, if there is something that cannot be used.
    pub fn load(data_dir: &Path) -> Result<Option<Self>, JoinError> {
        let path = Self::file(data_dir);
        if !path.exists() {
            return Ok(None);
        }
        let kept = |why: String| JoinError::Kept { path: path.clone(), why };
        let config = Kubeconfig::read_from(&path).map_err(|error| kept(error.to_string()))?;
        Self::of(&config).map(Some).map_err(kept)
    }

    fn of(config: &Kubeconfig) -> Result<Self, String> {
        let named = config.clusters.iter().filter_map(|it| Some((it.name.as_str(), it.cluster.as_ref()?)));
        let authority = named.clone().next().and_then(|(_, cluster)| cluster.certificate_authority_data.as_deref());
        let servers = named.filter_map(|(name, cluster)| Some((name.starts_with(ANNOUNCED), cluster.server.clone()?)));
        let (announced, servers): (Vec<_>, Vec<_>) = servers.partition(|(is_announced, _)| *is_announced);
        let urls = |servers: Vec<(bool, String)>| servers.into_iter().map(|(_, url)| url).collect::<Vec<_>>();
        let user = config.auth_infos.first().ok_or("it names no node")?;
        // As JSON, since a key hides itself from everybody else.
        let auth = serde_json::to_value(user).map_err(|error| error.to_string())?;
        let data = |field: &str| auth.pointer(&format!("/user/{field}")).and_then(serde_json::Value::as_str);
        let text = |encoded: Option<&str>, what: &str| {
            let bytes = encoded.and_then(|it| STANDARD.decode(it).ok());
            bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(format!("it holds no {what}"))
        };
        Ok(Self {
            servers: Some(urls(servers)).filter(|servers| !servers.is_empty()).ok_or("it names no server")?,
            announced: urls(announced),
            ca_pem: text(authority, "authority")?,
            node: user.name.trim_start_matches("system:node:").to_string(),
            certificate_pem: text(data("client-certificate-data"), "certificate")?,
            key_pem: text(data("client-key-data"), "key")?,
        })
    }

    /// Whether they are for the fleet of these servers, as far as one knows: they have one in common, or none is named.
    /// The authority vouches for the others.
    pub fn is_of(&self, servers: &[String]) -> bool {
        servers.is_empty() || servers.iter().any(|server| self.all().any(|known| known == server))
    }

    /// All servers, each once.
    pub fn all(&self) -> impl Iterator<Item = &String> {
        self.servers.iter().chain(self.announced.iter().filter(|url| !self.servers.contains(url)))
    }

    /// Keeps them: readable by their owner alone, there as a whole or not at all.
    ///
    /// # Errors
    /// `Write`.
    pub fn store(&self, data_dir: &Path) -> Result<(), JoinError> {
        let path = Self::file(data_dir);
        write_private(&path, self.to_yaml().as_bytes()).map_err(|source| JoinError::Write { path, source })
    }

    fn to_yaml(&self) -> String {
        let [ca, certificate, key] =
            [&self.ca_pem, &self.certificate_pem, &self.key_pem].map(|pem| STANDARD.encode(pem));
        let node = &self.node;
        // Every program that reads such a file takes the first; the others are there for whoever chooses.
        let numbered = |name: &'static str, servers: &'_ [String]| {
            let names = (1..).map(move |number| if number == 1 { name.into() } else { format!("{name}-{number}") });
            names.zip(servers.to_vec())
        };
        let clusters = numbered(CLUSTER, &self.servers).chain(numbered(ANNOUNCED, &self.announced));
        let clusters = clusters.map(|(name, server)| {
            format!(
                "- name: {name}
  cluster:
    server: {server}
    certificate-authority-data: {ca}
"
            )
        });
        format!(
            "apiVersion: v1
kind: Config
current-context: {CLUSTER}
clusters:
{}contexts:
- name: {CLUSTER}
  context:
    cluster: {CLUSTER}
    user: system:node:{node}
users:
- name: system:node:{node}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
",
            clusters.collect::<String>()
        )
    }

    /// All servers, with clients that use them.
    ///
    /// # Errors
    /// `Authority`, if they cannot be used.
    pub async fn servers(&self, entropy: &Entropy) -> Result<Servers, JoinError> {
        let told = futures::future::try_join_all(self.servers.iter().map(|url| self.server(url))).await?;
        Ok(Servers::shuffled(told, self.others(&self.announced).await?, entropy))
    }

    /// Keeps to the servers that there are: those that this machine was told of, and those that have announced themselves,
    /// as far as `chosen`. All of them are known by the same authority, so that whoever writes an announcement can lead
    /// nobody to a stranger.
    pub async fn follow(&self, servers: &Servers, entropy: &Entropy, chosen: impl Fn(BTreeSet<String>) -> Vec<String>) {
        let mut heard = servers::follow(servers.clone(), entropy.clone());
        while let Some(announced) = heard.recv().await {
            match self.others(&chosen(announced)).await {
                Ok(others) => servers.announce(others, entropy),
                Err(error) => tracing::warn!(%error, "a server that has announced itself is not used"),
            }
        }
    }

    /// Those among the announced servers of which this machine was not told.
    ///
    /// # Errors
    /// As [`Credentials::servers`].
    async fn others(&self, announced: &[String]) -> Result<Vec<Server>, JoinError> {
        let others = announced.iter().filter(|url| !self.servers.contains(url));
        futures::future::try_join_all(others.map(|url| self.server(url))).await
    }

    async fn server(&self, url: &str) -> Result<Server, JoinError> {
        Ok(Server { url: Some(url.to_string()), client: self.client(url).await? })
    }

    async fn client(&self, url: &str) -> Result<Client, JoinError> {
        let unusable = |error: &dyn std::error::Error| JoinError::Authority(error.to_string());
        let alone = Self { servers: vec![url.to_string()], announced: Vec::new(), ..self.clone() };
        let config = Kubeconfig::from_yaml(&alone.to_yaml()).map_err(|error| unusable(&error))?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        let mut config = config.map_err(|error| unusable(&error))?;
        // The agent's own timeouts count, and a tunnel is silent for as long as nobody needs it.
        (config.read_timeout, config.write_timeout) = (None, None);
        // As do its own retries: a server that cannot serve is to be left, not asked again for as long as one waits.
        config.default_retry = false;
        Client::try_from(config).map_err(|error| unusable(&error))
    }

    /// From when until when the certificate is valid.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn validity(&self) -> Result<(Timestamp, Timestamp), String> {
        let (_, pem) =
            x509_parser::pem::parse_x509_pem(self.certificate_pem.as_bytes()).map_err(|error| error.to_string())?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&pem.contents).map_err(|error| error.to_string())?;
        let at = |time: x509_parser::time::ASN1Time| {
            Timestamp::from_second(time.timestamp()).map_err(|error| error.to_string())
        };
        Ok((at(certificate.validity().not_before)?, at(certificate.validity().not_after)?))
    }
}

fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let temporary = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn what_is_kept_can_be_read_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("agent");
        assert_eq!(Credentials::load(&data_dir).unwrap(), None);
        let credentials = Credentials {
            servers: vec!["https://10.0.0.1:6443".into(), "https://b.example:6443".into()],
            announced: vec!["https://10.0.0.3:6443".into(), "https://10.0.0.1:6443".into()],
            node: "n1".into(),
            ca_pem: "ca\n".into(),
            certificate_pem: "certificate\n".into(),
            key_pem: "key\n".into(),
        };
        credentials.store(&data_dir).unwrap();
        assert_eq!(Credentials::load(&data_dir).unwrap(), Some(credentials.clone()));
        assert_eq!(credentials.all().count(), 3);
        let alone = Credentials { servers: credentials.servers[..1].to_vec(), announced: Vec::new(), ..credentials };
        alone.store(&data_dir).unwrap();
        assert_eq!(Credentials::load(&data_dir).unwrap(), Some(alone));
        let file = Credentials::file(&data_dir);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "clusters: [").unwrap();
        assert!(matches!(Credentials::load(&data_dir), Err(JoinError::Kept { .. })));
        fs::write(&file, "apiVersion: v1\nkind: Config\n").unwrap();
        assert!(matches!(Credentials::load(&data_dir), Err(JoinError::Kept { .. })));
    }
}
