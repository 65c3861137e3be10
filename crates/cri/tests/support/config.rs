//! How the containerd of a test is set up. Also used by the tests of the whole product.

use std::path::Path;

/// Writes `config.toml`, and a network for pods in `net.d`, for a containerd whose state lies below `dir`.
pub fn write(dir: &Path) {
    let at = dir.display();
    std::fs::create_dir_all(dir.join("net.d")).unwrap();
    let config = format!(
        r#"version = 2
root = "{at}/root"
state = "{at}/state"
[grpc]
  address = "{at}/c.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{at}/net.d"
"#
    );
    std::fs::write(dir.join("config.toml"), config).unwrap();
    let network = format!(
        r#"{{"cniVersion":"0.4.0","name":"bs","plugins":[
  {{"type":"bridge","bridge":"bs0","isGateway":true,"ipMasq":true,
    "ipam":{{"type":"host-local","dataDir":"{at}/ipam","ranges":[[{{"subnet":"10.213.0.0/24"}}]],"routes":[{{"dst":"0.0.0.0/0"}}]}}}},
  {{"type":"portmap","capabilities":{{"portMappings":true}}}}]}}"#
    );
    std::fs::write(dir.join("net.d/10-bs.conflist"), network).unwrap();
}
