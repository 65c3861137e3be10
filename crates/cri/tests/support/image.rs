//! Images made of busybox alone, packed as an OCI layout that `ctr images import` takes.

use std::path::Path;

use serde_json::json;
use sha2::{Digest as _, Sha256};

/// The programs of busybox that tests use.
const PROGRAMS: [&str; 22] = [
    "sh", "cat", "echo", "sleep", "true", "false", "tail", "id", "env", "touch", "mkdir", "ls", "grep", "nc",
    "hostname", "mount", "seq", "head", "ip", "kill", "pwd", "dd",
];

/// Writes an image by this name to `file`; `entrypoint` is its own command.
pub fn pack(file: &Path, name: &str, entrypoint: &[&str]) {
    let mut layer = Tar::default();
    for dir in ["bin/", "etc/", "tmp/", "dev/", "proc/", "sys/"] {
        layer.add(dir, b'5', 0o1777, "", &[]);
    }
    layer.add("bin/busybox", b'0', 0o755, "", &std::fs::read("/bin/busybox").expect("busybox-static is there"));
    for program in PROGRAMS {
        layer.add(&format!("bin/{program}"), b'2', 0o777, "busybox", &[]);
    }
    layer.add("etc/passwd", b'0', 0o644, "", b"root:x:0:0:root:/:/bin/sh\nwww:x:33:33:www:/:/bin/sh\n");
    layer.add("etc/group", b'0', 0o644, "", b"root:x:0:\nwww:x:33:\n");
    let layer = layer.finish();

    let mut layout = Tar::default();
    let mut blob = |kind: &str, bytes: &[u8]| {
        let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        layout.add(&format!("blobs/sha256/{hex}"), b'0', 0o644, "", bytes);
        json!({ "mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len() })
    };
    let layer = blob("application/vnd.oci.image.layer.v1.tar", &layer);
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }, "os": "linux",
        "config": { "Entrypoint": entrypoint, "Env": ["PATH=/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [layer["digest"]] },
    });
    let config = blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let text = json!({ "schemaVersion": 2, "mediaType": manifest, "config": config, "layers": [layer] });
    let mut manifest = blob(manifest, text.to_string().as_bytes());
    manifest["annotations"] = json!({ "io.containerd.image.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    layout.add("index.json", b'0', 0o644, "", index.to_string().as_bytes());
    layout.add("oci-layout", b'0', 0o644, "", br#"{"imageLayoutVersion":"1.0.0"}"#);
    std::fs::write(file, layout.finish()).expect("an image is written");
}

/// An archive in the ustar format.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn add(&mut self, name: &str, kind: u8, mode: u32, link: &str, bytes: &[u8]) {
        let mut header = [0_u8; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", bytes.len()));
        put(136, "00000000000");
        put(148, "        ");
        put(157, link);
        put(257, "ustar");
        put(263, "00");
        header[156] = kind;
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}
