//! Fields that an applied object would change under another manager's hands.

use std::fmt::Write;

use super::entries::{Identity, Operation};
use super::path::{PathElement, show};
use super::set::FieldSet;
use crate::status::{Cause, Details};
use crate::{Reason, Status};

/// One field that another manager owns with another value.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    pub owner: Owner,
    pub path: Vec<PathElement>,
}

/// An owner as messages name it: with the version its entry speaks, if it is an `Update` entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    identity: Identity,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Identity { name, operation, api_version, subresource } = &self.identity;
        write!(f, "{name:?}")?;
        if !subresource.is_empty() {
            write!(f, " with subresource {subresource:?}")?;
        }
        if *operation == Operation::Update {
            write!(f, " using {api_version}")?;
        }
        Ok(())
    }
}

/// The conflicts with one manager over these fields.
pub fn with(identity: &Identity, fields: &FieldSet) -> Vec<Conflict> {
    let owner = Owner { identity: identity.clone() };
    fields.paths().into_iter().map(|path| Conflict { owner: owner.clone(), path }).collect()
}

/// The answer to an apply that met conflicts. They are grouped by manager already.
pub fn refusal(conflicts: &[Conflict]) -> Status {
    let cause = |conflict: &Conflict| Cause {
        reason: "FieldManagerConflict".into(),
        message: format!("conflict with {}", conflict.owner),
        field: show(&conflict.path),
    };
    let causes = conflicts.iter().map(cause).collect();
    Status::new(Reason::Conflict, message(conflicts)).details(Details { causes, ..Details::default() })
}

fn message(conflicts: &[Conflict]) -> String {
    if let [Conflict { owner, path }] = conflicts {
        return format!("Apply failed with 1 conflict: conflict with {owner}: {}", show(path));
    }
    let mut message = format!("Apply failed with {} conflicts: ", conflicts.len());
    for (index, of_owner) in conflicts.chunk_by(|left, right| left.owner == right.owner).enumerate() {
        let line_break = if index == 0 { "" } else { "\n" };
        let _ = write!(message, "{line_break}conflicts with {}:", of_owner[0].owner);
        for conflict in of_owner {
            let _ = write!(message, "\n- {}", show(&conflict.path));
        }
    }
    message
}
