//! How things are called in OpenAPI documents.

use backstay_api::resources::Resource;

/// The full name of a type: `io.k8s.api.apps.v1.DaemonSet` for `apps.v1.DaemonSet`.
pub fn schema(short: &str) -> String {
    let package = match short.split('.').next().unwrap_or_default() {
        "meta" => "io.k8s.apimachinery.pkg.apis",
        "apiextensions" => "io.k8s.apiextensions-apiserver.pkg.apis",
        "apiregistration" => "io.k8s.kube-aggregator.pkg.apis",
        _ => "io.k8s.api",
    };
    format!("{package}.{short}")
}

/// The full name of the type of a custom resource: `com.example.stable.v1.Thing`.
pub fn custom_schema(resource: &Resource) -> String {
    let mut labels: Vec<&str> = resource.group.split('.').collect();
    labels.reverse();
    format!("{}.{}.{}", labels.join("."), resource.version, resource.kind)
}

/// Where a group and version begins, without the first slash: `api/v1`, `apis/apps/v1`.
pub fn root(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

/// `apps_v1`.
pub fn tag(resource: &Resource) -> String {
    let group = resource.group.split('.').next().filter(|group| !group.is_empty()).unwrap_or("core");
    format!("{group}_{}", resource.version)
}

/// `AppsV1`.
pub fn camel(resource: &Resource) -> String {
    let tag = tag(resource);
    tag.split('_').map(capitalised).collect()
}

pub fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

pub fn reference(full_name: &str) -> String {
    format!("#/components/schemas/{full_name}")
}
