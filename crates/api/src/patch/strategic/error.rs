//! What can be wrong with a strategic merge patch, in Kubernetes' words.

use serde_json::{Map, Value};

use crate::patch::words::{go_type, go_value};
use crate::{Reason, Status};

pub const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";
pub const BAD_PRIMITIVE_LIST: &str = "invalid patch format of primitive list";
pub const BAD_SET_ORDER: &str = "invalid patch format of setElementOrder list";

/// Kubernetes answers some of these as the client's fault, and the rest as its own.
#[derive(Debug, PartialEq)]
pub enum Error {
    BadRequest(&'static str),
    /// Lists whose elements are lists.
    ListOfLists,
    /// Code 500, no reason.
    Other(String),
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        match error {
            Error::BadRequest(message) => Status::bad_request(message),
            Error::ListOfLists => {
                Status::new(Reason::Invalid, "the server rejected our request due to an error in our request")
                    .details(Default::default())
            }
            Error::Other(message) => Status::with_code(500, None, message),
        }
    }
}

pub fn unknown_directive(directive: &Value, map: &Map<String, Value>) -> Error {
    Error::Other(format!("unknown patch type: {} in map: {}", go_value(directive), go_map(map)))
}

pub fn no_merge_key(map: &Map<String, Value>, key: &str) -> Error {
    Error::Other(format!("map: {} does not contain declared merge key: {key}", go_map(map)))
}

pub fn expected(wanted: &str, found: &Value) -> Error {
    Error::Other(format!("expected a {wanted}, but received a {}", go_type(found)))
}

pub fn mixed_elements(lists: &[&[Value]]) -> Error {
    let lists: Vec<Value> = lists.iter().map(|list| Value::from(list.to_vec())).collect();
    Error::Other(format!("list element types are not identical: {}", go_value(&Value::from(lists))))
}

fn go_map(map: &Map<String, Value>) -> String {
    go_value(&Value::Object(map.clone()))
}
