//! Who may do what: role-based access control, evaluated from the RBAC objects in the store.
//!
//! [`RuleIndex`] is the pure half: built from a snapshot, it answers questions. [`Authorizer`] keeps one up to date.
//! [`reviews`] answers the questions that clients ask about rights, [`impersonation`] lets one user act as another,
//! [`escalation`] keeps users from granting what they do not have.
//!
//! In the path of a request, after the listener has said who sends it:
//! 1. [`impersonation::impersonate`] with the headers may put another user in the sender's place;
//! 2. [`Authorizer::authorize`] decides, [`forbidden`] words the refusal;
//! 3. before an object is written, [`escalation::check`] looks at RBAC kinds;
//! 4. a review is answered by [`reviews::answer`] instead of being stored.

pub mod attributes;
pub mod cache;
pub mod escalation;
pub mod impersonation;
mod index;
pub mod node;
mod objects;
pub mod reviews;
mod rules;

pub use attributes::{Action, Attributes, Resource, forbidden};
pub use cache::Authorizer;
pub use index::{Decision, Resolved, RuleIndex};
pub use rules::{PolicyRule, quoted};

#[cfg(test)]
mod reviews_tests;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
