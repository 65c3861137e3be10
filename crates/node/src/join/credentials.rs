//! What a machine that has joined keeps: a kubeconfig with a certificate of its own.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::JoinError;

/// In the agent's data directory.
const FILE: &str = "agent.kubeconfig";

/// A node's identity towards one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// `https://HOST:PORT`.
    pub server: String,
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
        let cluster = config.clusters.first().and_then(|it| it.cluster.as_ref()).ok_or("it names no server")?;
        let user = config.auth_infos.first().ok_or("it names no node")?;
        // As JSON, since a key hides itself from everybody else.
        let auth = serde_json::to_value(user).map_err(|error| error.to_string())?;
        let data = |field: &str| auth.pointer(&format!("/user/{field}")).and_then(serde_json::Value::as_str);
        let text = |encoded: Option<&str>, what: &str| {
            let bytes = encoded.and_then(|it| STANDARD.decode(it).ok());
            bytes.and_then(|bytes| String::from_utf8(bytes).ok()).ok_or(format!("it holds no {what}"))
        };
        Ok(Self {
            server: cluster.server.clone().ok_or("it names no server")?,
            node: user.name.trim_start_matches("system:node:").to_string(),
            ca_pem: text(cluster.certificate_authority_data.as_deref(), "authority")?,
            certificate_pem: text(data("client-certificate-data"), "certificate")?,
            key_pem: text(data("client-key-data"), "key")?,
        })
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
        let (server, node) = (&self.server, &self.node);
        format!(
            "apiVersion: v1
kind: Config
current-context: backstay
clusters:
- name: backstay
  cluster:
    server: {server}
    certificate-authority-data: {ca}
contexts:
- name: backstay
  context:
    cluster: backstay
    user: system:node:{node}
users:
- name: system:node:{node}
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"
        )
    }

    /// A client that uses them.
    ///
    /// # Errors
    /// `Authority`, if they cannot be used.
    pub async fn client(&self) -> Result<Client, JoinError> {
        let unusable = |error: &dyn std::error::Error| JoinError::Authority(error.to_string());
        let config = Kubeconfig::from_yaml(&self.to_yaml()).map_err(|error| unusable(&error))?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await;
        let mut config = config.map_err(|error| unusable(&error))?;
        // The agent's own timeouts count, and a tunnel is silent for as long as nobody needs it.
        (config.read_timeout, config.write_timeout) = (None, None);
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
            server: "https://10.0.0.1:6443".into(),
            node: "n1".into(),
            ca_pem: "ca\n".into(),
            certificate_pem: "certificate\n".into(),
            key_pem: "key\n".into(),
        };
        credentials.store(&data_dir).unwrap();
        assert_eq!(Credentials::load(&data_dir).unwrap(), Some(credentials));
        let file = Credentials::file(&data_dir);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&file, "clusters: [").unwrap();
        assert!(matches!(Credentials::load(&data_dir), Err(JoinError::Kept { .. })));
        fs::write(&file, "apiVersion: v1\nkind: Config\n").unwrap();
        assert!(matches!(Credentials::load(&data_dir), Err(JoinError::Kept { .. })));
    }
}
