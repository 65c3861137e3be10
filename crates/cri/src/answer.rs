//! What a runtime has answered, in our words. Pure.

use backstay_node::lifecycle::observed::Exit;
use backstay_node::lifecycle::{ContainerRecord, ContainerState};
use backstay_node::runtime::{Image, ImageError, ImageUser, StoredImage};
use jiff::Timestamp;
use tonic::{Code, Status};

use crate::request;
use crate::wire::{self, CREATED, EXITED, RUNNING};

/// `scheme`: the runtime's name. `message`: the container's last words.
pub fn record(scheme: &str, status: &wire::ContainerStatus, message: String) -> ContainerRecord {
    let started_at = time(status.started_at);
    let state = match status.state {
        CREATED => ContainerState::Created,
        RUNNING => ContainerState::Running { started_at },
        EXITED => ContainerState::Exited(exit(status, message)),
        _ => ContainerState::Exited(Exit {
            started_at,
            finished_at: time(status.finished_at),
            exit_code: 137,
            reason: "ContainerStatusUnknown".into(),
            message: "The container could not be located when the pod was terminated".into(),
        }),
    };
    ContainerRecord {
        id: format!("{scheme}://{}", status.id),
        attempt: status.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
        image_id: status.image_ref.clone(),
        backoff_seconds: annotation(status, request::BACKOFF_SECONDS).parse().unwrap_or(0),
        state,
    }
}

fn exit(status: &wire::ContainerStatus, message: String) -> Exit {
    // One that never ran has not begun either.
    let started_at = if status.started_at > 0 { status.started_at } else { status.created_at };
    let reason = match (status.reason.as_str(), status.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (reason, _) => reason,
    };
    let words = [status.message.as_str(), message.as_str()];
    let words: Vec<&str> = words.into_iter().filter(|words| !words.is_empty()).collect();
    Exit {
        started_at: time(started_at),
        finished_at: time(status.finished_at),
        exit_code: status.exit_code,
        reason: reason.to_string(),
        message: words.join(": "),
    }
}

pub fn annotation<'a>(status: &'a wire::ContainerStatus, name: &str) -> &'a str {
    status.annotations.get(name).map(String::as_str).unwrap_or_default()
}

fn time(nanoseconds: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanoseconds.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

pub fn image(image: &wire::Image) -> Image {
    let user = match (&image.uid, image.username.as_str()) {
        (Some(uid), _) if uid.value == 0 => ImageUser::Root,
        // Beyond what a user id can be, it is certainly not root.
        (Some(uid), _) => ImageUser::Id(u32::try_from(uid.value).unwrap_or(u32::MAX)),
        (None, "" | "root") => ImageUser::Root,
        (None, name) => ImageUser::Name(name.to_string()),
    };
    Image {
        id: image.id.clone(),
        reference: image.repo_digests.first().unwrap_or(&image.id).clone(),
        size_bytes: image.size,
        user,
    }
}

pub fn stored_image(image: wire::Image) -> StoredImage {
    let names = image.repo_digests.into_iter().chain(image.repo_tags).collect();
    StoredImage { id: image.id, names, size_bytes: image.size, pinned: image.pinned, ..StoredImage::default() }
}

/// Why an image could not be had. Runtimes begin their messages with a reason where they know one.
pub fn pull_error(name: &str, status: &Status) -> ImageError {
    const KNOWN: [&str; 2] = ["RegistryUnavailable", "SignatureValidationFailed"];
    let reason = KNOWN.into_iter().find(|reason| status.message().starts_with(reason)).unwrap_or("ErrImagePull");
    let message = match reason {
        "RegistryUnavailable" => {
            format!("image pull failed for {name} because the registry is unavailable: {}", text(status))
        }
        "SignatureValidationFailed" => {
            format!("image pull failed for {name} because the signature validation failed: {}", text(status))
        }
        _ => text(status),
    };
    ImageError { reason, message }
}

pub fn inspect_error(status: &Status) -> ImageError {
    ImageError { reason: "ImageInspectError", message: text(status) }
}

/// # Errors
/// `InvalidImageName` if it cannot be the name of an image.
pub fn check_name(name: &str) -> Result<(), ImageError> {
    let why = if is_reference(name) {
        return Ok(());
    } else if name.bytes().any(|byte| byte.is_ascii_uppercase()) && is_reference(&name.to_ascii_lowercase()) {
        "repository name must be lowercase"
    } else {
        "invalid reference format"
    };
    let message = format!("Failed to apply default image tag {name:?}: couldn't parse image name {name:?}: {why}");
    Err(ImageError { reason: "InvalidImageName", message })
}

/// `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`.
fn is_reference(name: &str) -> bool {
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match rest[last..].find(':') {
        Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
        None => (rest, None),
    };
    let host = path.split_once('/').filter(|(first, _)| first.contains(['.', ':']) || *first == "localhost");
    let (host, path) = host.map_or((None, path), |(host, path)| (Some(host), path));
    host.is_none_or(is_host)
        && path.len() <= 255
        && path.split('/').all(is_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest)
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !name.ends_with(':') && !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
    !name.is_empty()
        && name.bytes().all(inner)
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Words of lower-case letters and digits, with `.`, `_`, `__` or any number of `-` between them.
fn is_component(part: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = part.split(|it: char| it.is_ascii_lowercase() || it.is_ascii_digit());
    let ends = part.bytes().next().is_some_and(is_word) && part.bytes().last().is_some_and(is_word);
    ends && separators.into_iter().all(|it| matches!(it, "" | "." | "_" | "__") || it.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, hex)) = digest.split_once(':') else { return false };
    algorithm.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && hex.len() >= 32
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// As gRPC errors read in Go, which is how users know them.
pub fn text(status: &Status) -> String {
    format!("rpc error: code = {:?} desc = {}", status.code(), status.message())
}

pub fn is_gone(status: &Status) -> bool {
    status.code() == Code::NotFound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images() {
        for name in [
            "a",
            "a/b",
            "a:1",
            "localhost/a:1.0-x",
            "localhost:5000/a/b",
            "127.0.0.1:5055/library/busybox:1.35",
            "docker.io/library/a__b:V1",
            "quay.io/a/b--c",
            "[::1]:5000/a",
            "a@sha256:0123456789012345678901234567890123456789012345678901234567890123",
        ] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for (name, why) in [
            ("", "invalid reference format"),
            ("A", "must be lowercase"),
            ("a b", "invalid reference format"),
            ("a:", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a/", "invalid reference format"),
            ("a:b:c", "invalid reference format"),
            ("a@sha256:12", "invalid reference format"),
            ("https://a/b", "invalid reference format"),
        ] {
            let error = check_name(name).expect_err(name);
            assert!(error.reason == "InvalidImageName" && error.message.ends_with(why), "{name}: {error}");
        }
    }

    #[test]
    fn reasons_of_failed_pulls() {
        let row = |code: Code, text: &str| pull_error("x", &Status::new(code, text));
        let error = row(Code::NotFound, "no such image");
        assert_eq!(
            (error.reason, error.message.as_str()),
            ("ErrImagePull", "rpc error: code = NotFound desc = no such image")
        );
        assert_eq!(row(Code::Unknown, "RegistryUnavailable: 503").reason, "RegistryUnavailable");
        assert_eq!(row(Code::Unknown, "SignatureValidationFailed: no").reason, "SignatureValidationFailed");
    }

    fn check(status: wire::ContainerStatus, words: &str, expected: (&str, i32, &str)) {
        let record = record("containerd", &status, words.to_string());
        let exit = record.exit().expect("it has ended");
        assert_eq!((exit.reason.as_str(), exit.exit_code, exit.message.as_str()), expected);
    }

    #[test]
    fn ends() {
        let ended = |exit_code: i32, reason: &str, message: &str| wire::ContainerStatus {
            state: EXITED,
            exit_code,
            reason: reason.to_string(),
            message: message.to_string(),
            ..wire::ContainerStatus::default()
        };
        check(ended(0, "Completed", ""), "", ("Completed", 0, ""));
        check(ended(0, "", ""), "bye", ("Completed", 0, "bye"));
        check(ended(3, "", ""), "", ("Error", 3, ""));
        check(ended(137, "OOMKilled", ""), "", ("OOMKilled", 137, ""));
        check(ended(128, "StartError", "no such file"), "", ("StartError", 128, "no such file"));
        check(ended(1, "Error", "a"), "b", ("Error", 1, "a: b"));
        check(
            wire::ContainerStatus { state: wire::ContainerState::ContainerUnknown as i32, ..ended(0, "", "") },
            "",
            ("ContainerStatusUnknown", 137, "The container could not be located when the pod was terminated"),
        );
    }

    #[test]
    fn users_of_images() {
        let user = |uid: Option<i64>, username: &str| {
            let uid = uid.map(|value| wire::Int64Value { value });
            image(&wire::Image { uid, username: username.to_string(), ..wire::Image::default() }).user
        };
        assert_eq!(user(None, ""), ImageUser::Root);
        assert_eq!(user(None, "root"), ImageUser::Root);
        assert_eq!(user(Some(0), ""), ImageUser::Root);
        assert_eq!(user(Some(7), ""), ImageUser::Id(7));
        assert_eq!(user(None, "www"), ImageUser::Name("www".into()));
    }
}
