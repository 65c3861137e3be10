//! One request for a resource, with everything its handler needs.

use std::sync::{Arc, Mutex, PoisonError};

use backstay_store::{Key, Range};
use bytes::Bytes;

use crate::UserInfo;
use crate::answer::Media;
use crate::catalog::Served;
use crate::gate::Held;
use crate::identity::MASTERS;
use crate::request::{Query, Target, Verb};
use crate::server::Core;
use crate::upgrade::Upgrade;

/// A request that has been authenticated, authorized and routed.
pub struct Call {
    pub core: Arc<Core>,
    pub served: Arc<Served>,
    pub verb: Verb,
    pub target: Target,
    pub user: Arc<UserInfo>,
    pub query: Query,
    pub media: Media,
    pub content_type: String,
    pub user_agent: String,
    pub accepts_gzip: bool,
    pub body: Bytes,
    pub warnings: Arc<Warnings>,
    /// The place that the request takes; a stream keeps it until its end.
    pub held: Option<Arc<Held>>,
    /// What the client wants to turn its connection into.
    pub upgrade: Option<Upgrade>,
}

/// Texts for the `Warning` headers of the answer, each once, in order.
#[derive(Debug, Default)]
pub struct Warnings(Mutex<Vec<String>>);

/// All warnings of an answer together; what would go beyond is left out. Source: `truncateAtTotalRunes`.
const WARNING_CHARS_MAX: usize = 4 * 1024;
/// If they are too many, each is cut to this. Source: `truncateItemRunes`.
const WARNING_CHARS_CUT: usize = 256;

impl Warnings {
    pub fn add(&self, text: impl Into<String>) {
        let text = text.into();
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let chars = |text: &String| text.chars().count();
        let used: usize = texts.iter().map(chars).sum();
        if used >= WARNING_CHARS_MAX || texts.contains(&text) {
            return;
        }
        texts.push(text);
        if texts.iter().map(chars).sum::<usize>() <= WARNING_CHARS_MAX {
            return;
        }
        for text in texts.iter_mut() {
            *text = text.chars().take(WARNING_CHARS_CUT).collect();
        }
        while texts.iter().map(chars).sum::<usize>() > WARNING_CHARS_MAX {
            texts.pop();
        }
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Call {
    /// A call that the server makes itself, on one object.
    pub fn internal(core: Arc<Core>, served: Arc<Served>, namespace: &str, name: &str) -> Self {
        let text = |text: &str| Some(text.to_string()).filter(|text| !text.is_empty());
        let target = Target { namespace: text(namespace), name: text(name), ..Target::default() };
        Self {
            core,
            served,
            verb: Verb::Delete,
            target,
            user: Arc::new(UserInfo::new("system:apiserver", &[MASTERS])),
            query: Query::default(),
            media: Media::default(),
            content_type: String::new(),
            user_agent: String::new(),
            accepts_gzip: false,
            body: Bytes::new(),
            warnings: Arc::default(),
            held: None,
            upgrade: None,
        }
    }

    /// The same for a stream, which may last for days: without what only its start needs.
    pub fn lasting(mut self) -> Self {
        (self.user, self.query, self.warnings) = (self.core.nobody.clone(), Query::default(), Arc::default());
        (self.content_type, self.user_agent) = (String::new(), String::new());
        self
    }

    /// The namespace part of keys: empty for cluster-scoped resources.
    pub fn namespace(&self) -> &str {
        if self.served.resource.namespaced { self.target.namespace.as_deref().unwrap_or_default() } else { "" }
    }

    pub fn name(&self) -> &str {
        self.target.name.as_deref().unwrap_or_default()
    }

    pub fn subresource(&self) -> Option<&str> {
        self.target.subresource.as_deref()
    }

    pub fn key(&self, name: &str) -> Key {
        Key { resource: self.served.storage().clone(), namespace: self.namespace().into(), name: name.into() }
    }

    /// What a list or a watch looks at.
    pub fn range(&self, name: Option<&str>) -> Range {
        let namespace = Some(self.namespace()).filter(|namespace| !namespace.is_empty());
        // Cluster-scoped objects have no namespace; naming one of them needs the empty one spelt out.
        let namespace = if self.served.resource.namespaced { namespace } else { Some("") };
        Range {
            resource: self.served.storage().clone(),
            namespace: namespace.map(Into::into),
            name: name.filter(|_| namespace.is_some()).map(Into::into),
            field: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_do_not_fill_an_answer() {
        let warnings = Warnings::default();
        warnings.add("x".repeat(1_000));
        (0..10_000).for_each(|number| warnings.add(format!("unknown field {number}")));
        let texts = warnings.take();
        assert!(texts.iter().map(String::len).sum::<usize>() <= WARNING_CHARS_MAX);
        assert_eq!((texts[0].len(), texts[1].as_str()), (WARNING_CHARS_CUT, "unknown field 0"));
        warnings.add("again");
        warnings.add("again");
        assert_eq!(warnings.take(), ["again"]);
    }
}
