//! `/healthz`, `/livez` and `/readyz`, as a whole or check by check.

use axum::body::Body;
use http::Response;

use crate::answer::send;
use crate::pipeline::Asked;

/// A check: its name, and what is wrong if anything is.
type Check = (&'static str, fn(&Asked) -> Result<(), String>);

const CHECKS: [Check; 3] = [("ping", |_| Ok(())), ("log", |_| Ok(())), ("etcd", store)];

/// The store answers. It is called `etcd` because that is the name that monitoring asks for.
fn store(asked: &Asked) -> Result<(), String> {
    if let Some(problem) = &asked.store_problem {
        return Err(problem.clone());
    }
    let core = &asked.core;
    let (newest, oldest) = (core.store.snapshot().revision(), core.store.oldest());
    if oldest <= newest {
        Ok(())
    } else {
        Err(format!("its log begins at {oldest}, after its newest revision {newest}"))
    }
}

/// `which` is the first part of the path, `checks` the rest.
pub fn answer(asked: &Asked, which: &str, checks: &[&str]) -> Response<Body> {
    match checks {
        [] => all(asked, which),
        [name] => match CHECKS.iter().find(|(known, _)| known == name) {
            Some((name, check)) => one(which, name, check(asked)),
            None => send::text(404, "404 page not found\n"),
        },
        _ => send::text(404, "404 page not found\n"),
    }
}

fn one(which: &str, name: &str, result: Result<(), String>) -> Response<Body> {
    match result {
        Ok(()) => send::text(200, "ok"),
        Err(why) => send::text(500, format!("{which} check {name} failed: {why}\n")),
    }
}

fn all(asked: &Asked, which: &str) -> Response<Body> {
    let excluded: Vec<&str> = asked.query.all("exclude").collect();
    let mut report = String::new();
    let mut failed = false;
    for (name, check) in CHECKS {
        let line = match check(asked) {
            _ if excluded.contains(&name) => format!("[+]{name} excluded: ok\n"),
            Ok(()) => format!("[+]{name} ok\n"),
            Err(_) => {
                failed = true;
                format!("[-]{name} failed: reason withheld\n")
            }
        };
        report.push_str(&line);
    }
    match (failed, asked.query.get("verbose").is_some()) {
        (true, _) => send::text(500, format!("{report}{which} check failed\n")),
        (false, true) => send::text(200, format!("{report}{which} check passed\n")),
        (false, false) => send::text(200, "ok"),
    }
}
