//! Reviews: questions about users, rights and tokens. Answered, never kept.

use axum::body::Body;
use backstay_api::{Status, meta};
use http::Response;
use serde_json::{Value, json};

use super::create_options;
use crate::answer::{self, Payload};
use crate::authz::reviews;
use crate::call::Call;
use crate::request::body;

/// Answers a review.
pub fn create(call: &Call) -> Result<Response<Body>, Status> {
    let options = create_options(call)?;
    let review = body::object(call, options.field_validation)?;
    let answered = match call.served.resource.kind.as_str() {
        "TokenReview" => token(call, review),
        _ => {
            let rules = call.core.authorizer.rules();
            reviews::answer(&rules, &call.user, call.namespace(), call.core.clock.now(), &review)
                .ok_or_else(Status::unknown_path)??
        }
    };
    answer::object::response(call, 201, Payload::Object(answered))
}

fn token(call: &Call, mut review: Value) -> Value {
    let audiences = meta::list_at(&review, &["spec", "audiences"]);
    let audiences: Vec<String> = audiences.iter().filter_map(Value::as_str).map(str::to_string).collect();
    let token = meta::str_at(&review, &["spec", "token"]);
    let verified = match &call.core.tokens {
        Some(signer) => signer.verify(token, &audiences, call.core.clock.now()).map_err(|error| error.to_string()),
        None => Err("this server knows no tokens".into()),
    };
    let status = match verified {
        Ok(claims) => {
            let user = reviews::user_info(&claims.user());
            json!({ "authenticated": true, "user": user, "audiences": claims.aud })
        }
        Err(error) => json!({ "user": {}, "error": error }),
    };
    meta::map_mut(&mut review, &["metadata"]);
    meta::map_mut(&mut review, &[]).insert("status".into(), status);
    review
}
