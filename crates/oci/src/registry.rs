//! Fetches images from registries: the distribution protocol, with token and basic authentication.
//!
//! Layers are written to files first and held against their digests; a fetch that breaks off goes on where it was.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay_api::causes::chain;
use backstay_api::url::escaped_but;
use backstay_node::runtime::Credential;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::reference::Reference;
use crate::store::import::{Descriptor, Manifest};
use crate::store::{Layers, Store, StoreError, architecture, to_hex};

const DOCUMENT_BYTES_MAX: usize = 4 << 20;
const REDIRECTS_MAX: u32 = 5;
/// How often a broken transfer is taken up again if nothing more comes of it.
const RESUMES_MAX: u32 = 5;
/// So long nothing comes before a transfer counts as broken.
const SILENCE: Duration = Duration::from_secs(60);
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

#[derive(Debug, Error)]
pub enum PullError {
    #[error("cannot reach {url}: {why}")]
    Unreachable { url: String, why: String },
    #[error("{0}: not found")]
    NotFound(String),
    #[error("pull access denied for {0}: the registry wants other credentials, or the image does not exist")]
    Denied(String),
    #[error("{url} answered {status}: {body}")]
    Answer { url: String, status: StatusCode, body: String },
    #[error("{url} sent something else than {expected}: {found}")]
    Digest { url: String, expected: String, found: String },
    #[error("{0} has no image for linux/{architecture}", architecture = architecture())]
    Platform(String),
    #[error("cannot write {path:?}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A client of registries.
pub struct Registry {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

/// All of an image but its layers.
pub struct Fetched {
    /// Of what the name stands for: an index, or a manifest.
    pub digest: String,
    pub config: Vec<u8>,
    pub layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
}

/// A fetch of one image with one account.
pub struct Pull<'a> {
    registry: &'a Registry,
    name: &'a Reference,
    credential: Option<&'a Credential>,
    authorization: Option<String>,
}

impl Registry {
    /// Trusts the certificate authorities of this machine.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn new() -> std::io::Result<Self> {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let connector =
            hyper_rustls::HttpsConnectorBuilder::new().with_native_roots()?.https_or_http().enable_http1().build();
        Ok(Self { client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    pub fn pull<'a>(&'a self, name: &'a Reference, credential: Option<&'a Credential>) -> Pull<'a> {
        Pull { registry: self, name, credential, authorization: None }
    }

    async fn send(&self, url: &str, headers: &HeaderMap) -> Result<Response<Incoming>, PullError> {
        let unreachable = |why: String| PullError::Unreachable { url: url.to_string(), why };
        let mut request = Request::get(url).body(Empty::new()).map_err(|error| unreachable(error.to_string()))?;
        *request.headers_mut() = headers.clone();
        let answered = tokio::time::timeout(SILENCE, self.client.request(request)).await;
        match answered {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(unreachable(chain(&error))),
            Err(_) => Err(unreachable(format!("no answer within {} s", SILENCE.as_secs()))),
        }
    }
}

impl Pull<'_> {
    /// Fetches manifest and configuration, for this machine.
    ///
    /// # Errors
    /// If the registry does not have it, or does not give it to us.
    pub async fn describe(&mut self) -> Result<Fetched, PullError> {
        let mut bytes = self.manifest(self.name.version()).await?;
        let digest = format!("sha256:{}", to_hex(&Sha256::digest(&bytes)));
        let mut manifest = self.parse(&bytes)?;
        if !manifest.manifests.is_empty() {
            let fitting = manifest.for_this_machine().ok_or_else(|| PullError::Platform(self.name.to_string()))?;
            let fitting = fitting.digest.clone();
            bytes = self.manifest(&fitting).await?;
            manifest = self.parse(&bytes)?;
        }
        let config = self.small_blob(&manifest.config.digest).await?;
        Ok(Fetched { digest, config, layers: manifest.layers })
    }

    fn parse(&self, bytes: &[u8]) -> Result<Manifest, PullError> {
        serde_json::from_slice(bytes)
            .map_err(|error| StoreError::Image(format!("the manifest of {} cannot be read: {error}", self.name)).into())
    }

    async fn manifest(&mut self, version: &str) -> Result<Vec<u8>, PullError> {
        let url = self.url(&format!("manifests/{version}"));
        let bytes = self.document(&url).await?;
        if version.contains(':') { check(&url, version, &bytes).map(|()| bytes) } else { Ok(bytes) }
    }

    async fn small_blob(&mut self, digest: &str) -> Result<Vec<u8>, PullError> {
        let url = self.url(&format!("blobs/{digest}"));
        let bytes = self.document(&url).await?;
        check(&url, digest, &bytes).map(|()| bytes)
    }

    async fn document(&mut self, url: &str) -> Result<Vec<u8>, PullError> {
        let response = self.get(url, 0).await?;
        let broken = |why: String| PullError::Unreachable { url: url.to_string(), why };
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect();
        let body = tokio::time::timeout(SILENCE, body).await.map_err(|_| broken("the answer stopped".into()))?;
        Ok(body.map_err(|error| broken(error.to_string()))?.to_bytes().to_vec())
    }

    /// Fetches a layer into a file of the directory, named after its digest. What has come of it stays there if the
    /// transfer breaks off, unless the disk is full, and is not fetched again.
    ///
    /// # Errors
    /// If it cannot be had whole.
    pub async fn layer(&mut self, layer: &Descriptor, dir: &Path) -> Result<Blob, PullError> {
        let url = self.url(&format!("blobs/{}", layer.digest));
        let hex = crate::reference::hex(&layer.digest)
            .ok_or_else(|| StoreError::Image(format!("{:?} is no digest", layer.digest)))?;
        let mut blob = Blob::open(dir.join(format!("blob-{hex}"))).await?;
        let (mut attempts, mut have) = (0, blob.length()?);
        loop {
            let outcome = self.transfer(&url, layer.size, &mut blob).await;
            // As long as something comes, it will be whole one day.
            let before = std::mem::replace(&mut have, blob.length()?);
            attempts = if have > before { 0 } else { attempts + 1 };
            match outcome {
                Ok(()) => break,
                Err(PullError::Unreachable { .. }) if attempts <= RESUMES_MAX => {}
                Err(error @ PullError::Unreachable { .. }) => return Err(error),
                Err(error) => {
                    blob.remove();
                    return Err(error);
                }
            }
        }
        let (blob, found) = blob.digest().await?;
        if found != layer.digest {
            blob.remove();
            return Err(PullError::Digest { url, expected: layer.digest.clone(), found });
        }
        Ok(blob)
    }

    async fn transfer(&mut self, url: &str, size: u64, blob: &mut Blob) -> Result<(), PullError> {
        let have = blob.length()?;
        if size > 0 && have >= size {
            return Ok(());
        }
        let broken = |why: String| PullError::Unreachable { url: url.to_string(), why };
        let response = self.get(url, have).await?;
        let mut written = have;
        if have > 0 && response.status() != StatusCode::PARTIAL_CONTENT {
            // It sends all of it again.
            blob.file.set_len(0).map_err(blob.failed())?;
            written = 0;
        }
        let mut body = response.into_body();
        while let Some(frame) = tokio::time::timeout(SILENCE, body.frame())
            .await
            .map_err(|_| broken(format!("nothing came for {} s", SILENCE.as_secs())))?
        {
            let Ok(data) = frame.map_err(|error| broken(chain(&error)))?.into_data() else { continue };
            written += data.len() as u64;
            if size > 0 && written > size {
                return Err(PullError::Digest {
                    url: url.to_string(),
                    expected: format!("{size} bytes"),
                    found: "more".into(),
                });
            }
            blob.file.write_all(&data).map_err(blob.failed())?;
        }
        if size > 0 && written < size { Err(broken(format!("{written} of {size} bytes came"))) } else { Ok(()) }
    }

    fn url(&self, rest: &str) -> String {
        let scheme = if self.name.is_local() { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{rest}", self.name.host(), self.name.path)
    }

    /// Asks, with a token if the registry wants one, and follows where it points.
    async fn get(&mut self, url: &str, from: u64) -> Result<Response<Incoming>, PullError> {
        let mut asked_for_token = false;
        loop {
            let response = self.follow(url, from).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED && !asked_for_token {
                asked_for_token = true;
                let challenge = response.headers().get(header::WWW_AUTHENTICATE);
                let challenge = challenge.and_then(|value| value.to_str().ok()).unwrap_or_default().to_string();
                self.authorization = self.authorize(&challenge).await?;
                continue;
            }
            return Err(match status {
                StatusCode::NOT_FOUND => PullError::NotFound(self.name.to_string()),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => PullError::Denied(self.name.repository()),
                _ => {
                    let body = Limited::new(response.into_body(), 1024).collect().await;
                    let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned());
                    PullError::Answer { url: url.into(), status, body: body.unwrap_or_default() }
                }
            });
        }
    }

    async fn follow(&self, url: &str, from: u64) -> Result<Response<Incoming>, PullError> {
        let (mut url, mut ours) = (url.to_string(), true);
        for _ in 0..REDIRECTS_MAX {
            let mut headers = HeaderMap::new();
            let mut set = |name, value: &str| value.parse().map(|value| headers.insert(name, value)).is_ok();
            set(header::ACCEPT, if url.contains("/manifests/") { MANIFESTS } else { "*/*" });
            if from > 0 {
                set(header::RANGE, &format!("bytes={from}-"));
            }
            // Our credentials are for the registry, not for wherever it keeps its blobs.
            if let Some(authorization) = self.authorization.as_ref().filter(|_| ours) {
                set(header::AUTHORIZATION, authorization);
            }
            let response = self.registry.send(&url, &headers).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let next = resolve(&url, location.unwrap_or_default());
            ours = ours && authority(&next) == authority(&url);
            if url.starts_with("https:") && !next.starts_with("https:") {
                let why = format!("it points to {next}, which is not encrypted");
                return Err(PullError::Unreachable { url, why });
            }
            url = next;
        }
        Err(PullError::Unreachable { url, why: "it points from place to place".into() })
    }

    /// Answers a challenge; `None` if there is nothing to answer it with.
    async fn authorize(&self, challenge: &str) -> Result<Option<String>, PullError> {
        let account = self.credential.filter(|account| !account.username.is_empty());
        let basic = account.map(|account| {
            let pair = format!("{}:{}", account.username, account.password);
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        });
        if let Some(token) = self.credential.map(|it| &it.registry_token).filter(|token| !token.is_empty()) {
            return Ok(Some(format!("Bearer {token}")));
        }
        let Some(realm) =
            parameter(challenge, "realm").filter(|_| challenge.to_ascii_lowercase().starts_with("bearer"))
        else {
            return Ok(basic);
        };
        if !self.name.is_local() && !realm.starts_with("https:") {
            let why = "it wants our credentials sent unencrypted".to_string();
            return Err(PullError::Unreachable { url: realm, why });
        }
        let service = parameter(challenge, "service").unwrap_or_default();
        let scope = parameter(challenge, "scope").unwrap_or_else(|| format!("repository:{}:pull", self.name.path));
        let joint = if realm.contains('?') { '&' } else { '?' };
        let [service, scope] = [service, scope].map(|text| escaped_but(&text, ":/,"));
        let url = format!("{realm}{joint}service={service}&scope={scope}");
        let mut headers = HeaderMap::new();
        if let Some(value) = basic.and_then(|basic| basic.parse().ok()) {
            headers.insert(header::AUTHORIZATION, value);
        }
        let response = self.registry.send(&url, &headers).await?;
        if !response.status().is_success() {
            return Err(PullError::Denied(self.name.repository()));
        }
        let body = Limited::new(response.into_body(), DOCUMENT_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| PullError::Unreachable { url: url.clone(), why: error.to_string() })?.to_bytes();
        let token: Token = serde_json::from_slice(&body)
            .map_err(|error| PullError::Unreachable { url, why: format!("its token cannot be read: {error}") })?;
        let token = if token.token.is_empty() { token.access_token } else { token.token };
        Ok(Some(format!("Bearer {token}")))
    }
}

/// A layer as it comes, in a file that nobody else writes meanwhile: it is locked for as long as it is open.
///
/// Whoever waits for the lock finds what the first has fetched, even if that has been used and removed since.
pub struct Blob {
    path: PathBuf,
    file: File,
}

impl Blob {
    async fn open(path: PathBuf) -> Result<Self, PullError> {
        let open = move || {
            let failed = |source| PullError::Io { path: path.clone(), source };
            let options = OpenOptions::new().create(true).read(true).append(true).open(&path);
            let file = options.map_err(failed)?;
            file.lock().map_err(failed)?;
            Ok(Self { path, file })
        };
        in_background(open).await
    }

    fn failed(&self) -> impl FnOnce(std::io::Error) -> PullError {
        let path = self.path.clone();
        |source| PullError::Io { path, source }
    }

    fn length(&self) -> Result<u64, PullError> {
        Ok(self.file.metadata().map_err(self.failed())?.len())
    }

    async fn digest(self) -> Result<(Self, String), PullError> {
        let digest = move || {
            let mut hash = Sha256::new();
            let read = (&self.file).seek(SeekFrom::Start(0)).and_then(|_| std::io::copy(&mut &self.file, &mut hash));
            read.map_err(self.failed())?;
            Ok((self, format!("sha256:{}", to_hex(&hash.finalize()))))
        };
        in_background(digest).await
    }

    fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Does what waits, or works the disk.
async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::Image(format!("work on it was given up: {error}")))?
}

/// Layers that have been fetched; `None`: those that were there.
struct Fetches(Vec<Option<Blob>>);

impl Layers for Fetches {
    fn open(&mut self, index: usize) -> Result<Box<dyn Read + '_>, StoreError> {
        let blob = self.0.get_mut(index).and_then(Option::as_mut);
        let blob =
            blob.ok_or_else(|| StoreError::Image("a layer was removed while it was wanted; try again".into()))?;
        let failed = |source| StoreError::Io { what: "read", path: blob.path.clone(), source };
        (&blob.file).seek(SeekFrom::Start(0)).map_err(failed)?;
        Ok(Box::new(&blob.file))
    }
}

impl Drop for Fetches {
    fn drop(&mut self) {
        self.0.iter().flatten().for_each(Blob::remove);
    }
}

/// Fetches an image into the store.
///
/// # Errors
/// If it cannot be fetched or kept.
pub async fn pull(
    registry: &Registry,
    store: &Store,
    name: &Reference,
    credential: Option<&Credential>,
) -> Result<crate::store::ImageRecord, PullError> {
    let mut pull = registry.pull(name, credential);
    let Fetched { digest, config, layers } = pull.describe().await?;
    let diff_ids = Store::diff_ids(&config)?;
    if diff_ids.len() != layers.len() {
        let (layers, said) = (layers.len(), diff_ids.len());
        return Err(StoreError::Image(format!("it has {layers} layers, and says {said}")).into());
    }
    let mut fetched = Vec::new();
    for (layer, diff_id) in layers.iter().zip(&diff_ids) {
        if store.has_layer(diff_id) {
            fetched.push(None);
            continue;
        }
        match pull.layer(layer, &store.tmp_dir()).await {
            Ok(blob) => fetched.push(Some(blob)),
            Err(error) => {
                if matches!(error, PullError::Io { .. }) {
                    // The disk is full, and not of what may be of use later.
                    drop(Fetches(fetched));
                }
                return Err(error);
            }
        }
    }
    let (store, name) = (store.clone(), name.clone());
    // Unpacking is work for the disk, and long.
    in_background(move || {
        let mut fetched = Fetches(fetched);
        Ok(store.add(&config, &mut fetched, Some(&name), Some(name.with_digest(&digest)))?)
    })
    .await
}

fn check(url: &str, expected: &str, bytes: &[u8]) -> Result<(), PullError> {
    let found = format!("sha256:{}", to_hex(&Sha256::digest(bytes)));
    if found == expected {
        return Ok(());
    }
    Err(PullError::Digest { url: url.into(), expected: expected.into(), found })
}

fn parameter(challenge: &str, name: &str) -> Option<String> {
    let at = challenge.find(&format!("{name}=\""))? + name.len() + 2;
    let rest = &challenge[at..];
    Some(rest[..rest.find('"')?].to_string())
}

fn authority(url: &str) -> Option<String> {
    Some(url.parse::<Uri>().ok()?.authority()?.to_string())
}

fn resolve(base: &str, location: &str) -> String {
    match base.parse::<Uri>() {
        Ok(uri) if location.starts_with('/') => {
            format!("{}://{}{location}", uri.scheme_str().unwrap_or("https"), authority(base).unwrap_or_default())
        }
        _ => location.to_string(),
    }
}
