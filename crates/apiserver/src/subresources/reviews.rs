//! Reviews: questions about users, rights and tokens. Answered, never kept.

use axum::body::Body;
use backstay_api::{Status, meta};
use http::Response;
use serde_json::{Value, json};

use super::create_options;
use crate::answer::{self, Payload};
use crate::authn::bearer;
use crate::authz::reviews;
use crate::call::Call;
use crate::registry::metadata;
use crate::request::body;

/// Answers a review.
pub fn create(call: &Call) -> Result<Response<Body>, Status> {
    let options = create_options(call)?;
    let mut review = body::object(call, options.field_validation)?;
    metadata::settle_namespace(call, &mut review)?;
    let answered = match call.served.resource.kind.as_str() {
        "TokenReview" => token(call, review)?,
        _ => {
            let rules = call.core.authorizer.rules();
            reviews::answer(&rules, &call.user, call.namespace(), call.core.clock.now(), &review)
                .ok_or_else(Status::unknown_path)??
        }
    };
    answer::object::response(call, 201, Payload::Object(answered))
}

/// Source: `k8s.io/kubernetes` `pkg/registry/authentication/tokenreview`.
fn token(call: &Call, mut review: Value) -> Result<Value, Status> {
    let audiences = meta::list_at(&review, &["spec", "audiences"]);
    let audiences: Vec<String> = audiences.iter().filter_map(Value::as_str).map(str::to_string).collect();
    let status = match meta::str_at(&review, &["spec", "token"]) {
        "" => return Err(Status::bad_request("token is required for TokenReview in authentication")),
        token => match bearer::user(&call.core, token, &audiences) {
            Ok((user, audiences)) => {
                json!({ "authenticated": true, "user": reviews::user_info(&user), "audiences": audiences })
            }
            Err(refusal) => json!({ "user": {}, "error": refusal.review() }),
        },
    };
    meta::map_mut(&mut review, &["metadata"]);
    meta::map_mut(&mut review, &[]).insert("status".into(), status);
    Ok(review)
}
