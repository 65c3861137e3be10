//! `set image`.

use backstay_api::meta;
use serde_json::Value;

use super::{containers, pod_spec, split, unknown_container};
use crate::error::{Failure, Outcome};

/// Container names (`*` for all) and their images.
type Images = Vec<(String, String)>;

pub fn changes(words: &[String]) -> Outcome<(Vec<String>, Images)> {
    let (objects, changes) = split(words, |word| word.contains('='));
    if changes.is_empty() {
        return Err(Failure::plain("at least one image update is required"));
    }
    let image = |change: &String| {
        let (name, image) = change.split_once('=').filter(|(name, image)| !name.is_empty() && !image.is_empty())?;
        Some((name.to_string(), image.to_string()))
    };
    let images =
        changes.iter().map(|change| image(change).ok_or_else(|| Failure::plain(format!("invalid argument {change}"))));
    Ok((objects, images.collect::<Outcome<_>>()?))
}

pub fn set(object: &mut Value, images: &Images) -> Result<(), String> {
    let spec = pod_spec(object)?;
    for (name, image) in images {
        let mut found = name == "*";
        for container in containers(spec) {
            if name == "*" || meta::str_at(container, &["name"]) == name {
                container["image"] = image.as_str().into();
                found = true;
            }
        }
        if !found {
            return Err(unknown_container(name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn images_go_to_their_containers() {
        let words: Vec<String> = ["ds/x", "a=1", "*=2", "b=3"].map(str::to_string).to_vec();
        let (objects, images) = changes(&words).unwrap();
        assert_eq!(objects, ["ds/x"]);
        let spec = |a: &str, b: &str| {
            json!({"spec": {"template": {"spec": {
            "initContainers": [{"name": "a", "image": a}], "containers": [{"name": "b", "image": b}]}}}})
        };
        let mut object = spec("0", "0");
        set(&mut object, &images).unwrap();
        assert_eq!(object, spec("2", "3"));
        let error = set(&mut object, &vec![("c".into(), "1".into())]).unwrap_err();
        assert_eq!(error, "unable to find container named \"c\"");
    }
}
