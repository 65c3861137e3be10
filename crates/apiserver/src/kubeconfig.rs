//! The admin kubeconfig.

use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::pki::{Pair, write_private};

/// Writes a kubeconfig (mode 0600, whole or not at all) for one cluster, one user and one context, all `backstay`.
pub fn write(path: &Path, server: &str, ca_pem: &str, user: &Pair) -> io::Result<()> {
    write_private(path, text(server, ca_pem, user).as_bytes())
}

fn text(server: &str, ca_pem: &str, user: &Pair) -> String {
    let [ca, certificate, key] =
        [ca_pem, &user.certificate_pem, &user.key_pem].map(|pem| STANDARD.encode(pem.as_bytes()));
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: backstay
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: backstay
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
contexts:
- name: backstay
  context:
    cluster: backstay
    user: backstay
current-context: backstay
"
    )
}
