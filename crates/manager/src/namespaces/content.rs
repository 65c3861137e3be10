//! What is in a namespace, resource by resource.

use backstay_controllers::namespaces::Remaining;
use serde::Deserialize;
use serde_json::json;

use crate::api::{Api, ApiError, Served, escape};

/// Objects per page of a list.
const PAGE: usize = 500;

/// Counts the objects of a resource in a namespace.
pub async fn count(api: &Api, namespace: &str, served: &Served) -> Result<Remaining, ApiError> {
    let mut remaining = Remaining { resource: served.full_name(), ..Remaining::default() };
    each(api, namespace, served, |item| {
        remaining.count += 1;
        remaining.undeleted += usize::from(item.deletion_timestamp.is_none());
        for finalizer in item.finalizers.unwrap_or_default() {
            *remaining.finalizers.entry(finalizer).or_default() += 1;
        }
    })
    .await?;
    Ok(remaining)
}

/// Deletes the objects of a resource in a namespace, all at once where the server can do that.
pub async fn delete(api: &Api, namespace: &str, served: &Served) -> Result<(), ApiError> {
    let options = json!({ "propagationPolicy": "Background" });
    if served.has(&["deletecollection"]) {
        return api.delete(&served.resource.in_namespace(namespace), &options).await.map(drop);
    }
    let mut names = Vec::new();
    each(api, namespace, served, |item| {
        if item.deletion_timestamp.is_none() {
            names.push(item.name);
        }
    })
    .await?;
    for name in names {
        match api.delete(&served.resource.object(namespace, &name), &options).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

async fn each(api: &Api, namespace: &str, served: &Served, mut take: impl FnMut(ItemMeta)) -> Result<(), ApiError> {
    let api = api.metadata_only();
    let mut next = String::new();
    loop {
        let path = format!("{}?limit={PAGE}{next}", served.resource.in_namespace(namespace));
        let list: List = match api.list(&path).await {
            Ok(body) => serde_json::from_slice(&body)?,
            // No longer served: nothing of it is left.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        list.items.unwrap_or_default().into_iter().for_each(|item| take(item.metadata));
        match list.metadata.next.filter(|token| !token.is_empty()) {
            Some(token) => next = format!("&continue={}", escape(&token)),
            None => return Ok(()),
        }
    }
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: ListMeta,
    items: Option<Vec<Item>>,
}

#[derive(Default, Deserialize)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item {
    metadata: ItemMeta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemMeta {
    name: String,
    #[serde(default)]
    deletion_timestamp: Option<String>,
    #[serde(default)]
    finalizers: Option<Vec<String>>,
}
