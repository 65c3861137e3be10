//! What to do about one object.

use std::sync::Arc;

use backstay_api::meta::{FOREGROUND, ORPHAN};

use super::graph::Graph;
use super::item::{Item, Owner};

/// How a deletion treats the object's own dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Background,
    Foreground,
    Orphan,
}

/// One write (or look-up), complete. Every write is preconditioned on the uid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Find out whether an owner exists that no watch has shown; then call [`Graph::mark_absent`] if it does not.
    LookFor {
        owner: Owner,
        /// Of the dependent; empty if that is cluster-scoped.
        namespace: Arc<str>,
    },
    Delete {
        item: Item,
        propagation: Propagation,
    },
    /// Strategic merge patch that takes the references to these owner uids away.
    RemoveOwners {
        item: Item,
        uids: Vec<Arc<str>>,
    },
    /// The item no longer blocks the deletion of its owners, so that circles come apart.
    Unblock {
        item: Item,
    },
    RemoveFinalizer {
        item: Item,
        finalizer: &'static str,
    },
}

pub(super) fn plan(graph: &Graph, item: &Item) -> Vec<Action> {
    if item.orphans_dependents() {
        return orphan_dependents(graph, item);
    }
    if item.waits_for_dependents() {
        return wait_for_dependents(graph, item);
    }
    if item.being_deleted || item.owners.is_empty() {
        return Vec::new();
    }
    follow_owners(graph, item)
}

/// Dependents lose their reference first; when none is left, the finalizer goes.
fn orphan_dependents(graph: &Graph, item: &Item) -> Vec<Action> {
    let dependents = graph.dependents(&item.uid).cloned();
    let actions: Vec<Action> =
        dependents.map(|dependent| Action::RemoveOwners { item: dependent, uids: vec![item.uid.clone()] }).collect();
    match actions.is_empty() {
        true => vec![Action::RemoveFinalizer { item: item.clone(), finalizer: ORPHAN }],
        false => actions,
    }
}

/// Dependents are planned for themselves (their owner is going); the finalizer goes when none of them blocks.
fn wait_for_dependents(graph: &Graph, item: &Item) -> Vec<Action> {
    let blocked = graph.dependents(&item.uid).any(|dependent| blocks(dependent, &item.uid));
    match blocked {
        true => Vec::new(),
        false => vec![Action::RemoveFinalizer { item: item.clone(), finalizer: FOREGROUND }],
    }
}

fn blocks(dependent: &Item, owner: &str) -> bool {
    dependent.owners.iter().any(|reference| *reference.uid == *owner && reference.blocks)
}

/// The object is not being deleted itself: it stays while one solid owner is left.
fn follow_owners(graph: &Graph, item: &Item) -> Vec<Action> {
    let (mut solid, mut dangling, mut waiting, mut unknown) = (0, Vec::new(), Vec::new(), Vec::new());
    for owner in item.owners.iter() {
        match graph.get(&owner.uid) {
            // A cluster-scoped object cannot have a namespaced owner: the reference means nothing, and nothing is done.
            Some(found) if item.namespace.is_empty() && !found.namespace.is_empty() => return Vec::new(),
            // An owner in another namespace is no owner. A cluster-scoped one is fine.
            Some(found) if !found.namespace.is_empty() && found.namespace != item.namespace => {
                dangling.push(owner.uid.clone());
            }
            Some(found) if found.waits_for_dependents() && owner.blocks => waiting.push(owner.uid.clone()),
            Some(_) => solid += 1,
            None if graph.is_absent(owner, &item.namespace) => dangling.push(owner.uid.clone()),
            None => unknown.push(owner.clone()),
        }
    }
    if !unknown.is_empty() {
        let namespace = &item.namespace;
        return unknown.into_iter().map(|owner| Action::LookFor { owner, namespace: namespace.clone() }).collect();
    }
    if solid > 0 {
        dangling.extend(waiting);
        return match dangling.is_empty() {
            true => Vec::new(),
            false => vec![Action::RemoveOwners { item: item.clone(), uids: dangling }],
        };
    }
    delete(graph, item, !waiting.is_empty())
}

/// No owner is left. One that goes in the foreground takes its dependents' dependents along in the foreground.
fn delete(graph: &Graph, item: &Item, owner_waits: bool) -> Vec<Action> {
    let has_dependents = graph.dependents(&item.uid).next().is_some();
    if owner_waits && has_dependents {
        let circle = graph.dependents(&item.uid).any(|dependent| dependent.waits_for_dependents());
        let unblock = circle.then(|| Action::Unblock { item: item.clone() });
        let delete = Action::Delete { item: item.clone(), propagation: Propagation::Foreground };
        return unblock.into_iter().chain([delete]).collect();
    }
    let propagation = match () {
        () if item.orphan => Propagation::Orphan,
        () if item.foreground => Propagation::Foreground,
        () => Propagation::Background,
    };
    vec![Action::Delete { item: item.clone(), propagation }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::garbage::{ResourceName, Sought};

    /// A world in lines: `name [deleting] [finalizer=F]* [owner=NAME[!]]*` (`!`: blocks). Owners that have no line do
    /// not exist; `absent NAME` says that this is known.
    fn world(text: &str) -> Graph {
        let mut graph = Graph::default();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(name) = line.strip_prefix("absent ") {
                let (namespace, name) = name.split_once('/').unwrap_or(("ns", name));
                graph.mark_absent(&Sought::new(&owner(name), &namespace.into()));
                continue;
            }
            graph.upsert(item(line));
        }
        graph
    }

    fn owner(name: &str) -> Owner {
        let (api_version, kind) = ("v1".into(), "Thing".into());
        Owner { uid: name.into(), api_version, kind, name: name.into(), blocks: false }
    }

    fn item(line: &str) -> Item {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name");
        let (namespace, name) = name.split_once('/').unwrap_or(("ns", name));
        let resource = ResourceName { group: String::new(), version: "v1".into(), plural: "things".into() };
        let mut item = Item {
            uid: name.into(),
            resource: Arc::new(resource),
            namespace: namespace.trim_matches('-').into(),
            name: name.into(),
            resource_version: 1,
            owners: Arc::default(),
            being_deleted: false,
            foreground: false,
            orphan: false,
        };
        let mut owners = Vec::new();
        for word in words {
            match word.split_once('=') {
                Some(("finalizer", FOREGROUND)) => item.foreground = true,
                Some(("finalizer", ORPHAN)) => item.orphan = true,
                Some(("owner", name)) => {
                    owners.push(Owner { blocks: name.ends_with('!'), ..owner(name.trim_end_matches('!')) });
                }
                Some(("version", version)) => item.resource_version = version.parse().expect("a number"),
                _ => item.being_deleted = true,
            }
        }
        item.owners = owners.into();
        item
    }

    fn show(actions: &[Action]) -> String {
        let texts = actions.iter().map(|action| match action {
            Action::LookFor { owner, .. } => format!("look for {}", owner.name),
            Action::Delete { item, propagation } => format!("delete {} {propagation:?}", item.name),
            Action::RemoveOwners { item, uids } => format!("take {} from {}", uids.join(" "), item.name),
            Action::Unblock { item } => format!("unblock owners of {}", item.name),
            Action::RemoveFinalizer { item, finalizer } => format!("finalize {} {finalizer}", item.name),
        });
        texts.collect::<Vec<_>>().join("; ")
    }

    fn check(what: &str, world_text: &str, expected: &str) {
        assert_eq!(show(&world(world_text).plan(what)), expected, "plan for {what} in:{world_text}");
    }

    #[test]
    fn plans() {
        check("a", "a", "");
        check("a", "a owner=b", "look for b");
        check("a", "a owner=b\nb", "");
        check("a", "a owner=b\nabsent b", "delete a Background");
        check("a", "a owner=b\nother/c owner=b\nabsent other/b", "look for b");
        check("c", "a owner=b\nother/c owner=b\nabsent other/b", "delete c Background");
        check("a", "a owner=b finalizer=orphan\nabsent b", "delete a Orphan");
        check("a", "a owner=b owner=c\nc\nabsent b", "take b from a");
        check("a", "a deleting owner=b\nabsent b", "");
        check("a", "a owner=x\nother/x", "delete a Background");
        check("a", "a owner=x\n-/x", "");
        check("a", "-/a owner=x\nother/x", "");
        // Foreground: dependents first, then the finalizer.
        check("o", "o deleting finalizer=foregroundDeletion\na owner=o!", "");
        check("a", "o deleting finalizer=foregroundDeletion\na owner=o!", "delete a Background");
        check("a", "o deleting finalizer=foregroundDeletion\na owner=o!\nb owner=a", "delete a Foreground");
        check("o", "o deleting finalizer=foregroundDeletion\na owner=o", "finalize o foregroundDeletion");
        check("o", "o deleting finalizer=foregroundDeletion", "finalize o foregroundDeletion");
        check("a", "o deleting finalizer=foregroundDeletion\np\na owner=o! owner=p", "take o from a");
        // Orphan: references first, then the finalizer.
        check("o", "o deleting finalizer=orphan\na owner=o!\nb owner=o", "take o from a; take o from b");
        check("o", "o deleting finalizer=orphan", "finalize o orphan");
        check("a", "o deleting finalizer=orphan\na owner=o", "");
        // A circle of two, both going in the foreground.
        check(
            "a",
            "o deleting finalizer=foregroundDeletion owner=a!\na owner=o!",
            "unblock owners of a; delete a Foreground",
        );
    }

    #[test]
    fn changes_wake_those_whom_they_concern() {
        let mut graph = world("o\na owner=o\nb owner=o\nc");
        assert_eq!(texts(graph.upsert(item("c"))), "", "nothing that matters");
        assert_eq!(texts(graph.remove("o")), "a b", "dependents of a deleted owner");
        assert_eq!(show(&graph.plan("a")), "delete a Background", "its absence is known without looking");
        let mut graph = world("o\na owner=o!");
        assert_eq!(texts(graph.upsert(item("o deleting finalizer=foregroundDeletion"))), "a o");
        assert_eq!(texts(graph.remove("a")), "o", "an owner that waited");
        let mut graph = world("o deleting finalizer=orphan\na owner=o");
        assert_eq!(texts(graph.upsert(item("a"))), "o", "an owner that waited for its reference to go");
    }

    #[test]
    fn what_is_old_changes_nothing() {
        let mut graph = world("a version=5 deleting finalizer=orphan");
        assert_eq!(texts(graph.upsert(item("a version=4"))), "");
        assert!(graph.get("a").unwrap().being_deleted);
    }

    #[test]
    fn siblings_share_what_they_have_in_common() {
        let graph = world("a owner=o!\nb owner=o!");
        let (a, b) = (graph.get("a").unwrap(), graph.get("b").unwrap());
        assert!(Arc::ptr_eq(&a.owners, &b.owners) && Arc::ptr_eq(&a.namespace, &b.namespace));
    }

    fn texts(uids: Vec<Arc<str>>) -> String {
        uids.join(" ")
    }
}
