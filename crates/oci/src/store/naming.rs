//! What the images of a file are called: as the file says, as far as it does, or as whoever imports it says.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use super::StoreError;
use crate::reference::{InvalidName, Reference};

/// The full name of an image, by containerd and Docker.
const FULL_NAME: &str = "io.containerd.image.name";
/// Its full name or, as most programs write it, its tag alone.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// A name that is given to what a file holds, in place of what it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    name: Reference,
    /// Otherwise a tag of the file's own counts.
    has_tag: bool,
}

impl FromStr for Given {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name = Reference::parse(text)?;
        if name.digest.is_some() {
            let why = "a digest comes from the image, and is not given";
            return Err(InvalidName { name: text.to_string(), why });
        }
        let has_tag = text.rsplit_once(':').is_some_and(|(_, tag)| !tag.contains('/'));
        Ok(Self { name, has_tag })
    }
}

impl Given {
    fn with(&self, tag: Option<&str>) -> Reference {
        let tag = tag.filter(|_| !self.has_tag).or(self.name.tag.as_deref());
        Reference { tag: tag.map(String::from), ..self.name.clone() }
    }
}

/// What a file says of one of its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Nothing,
    /// As in an OCI layout of `skopeo` or `buildah`: the rest of the name was the layout's, which is not known here.
    Tag(String),
    Name(Reference),
}

/// An image whose name is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TagAlone(String);

impl Said {
    /// By the annotations of its descriptor. What nothing can be called is not said.
    pub(super) fn by(annotations: &BTreeMap<String, String>) -> Self {
        let text = |key: &str| annotations.get(key).filter(|text| !text.is_empty());
        match (text(FULL_NAME), text(REF_NAME)) {
            (None, Some(tag)) if !tag.contains(['/', ':', '@']) => Self::Tag(tag.clone()),
            (Some(name), _) | (None, Some(name)) => Reference::parse(name).map_or(Self::Nothing, Self::Name),
            (None, None) => Self::Nothing,
        }
    }

    /// What the image is to be called; `None`: by its id alone.
    fn name(&self, given: Option<&Given>) -> Result<Option<Reference>, TagAlone> {
        match (given, self) {
            (None, Self::Nothing) => Ok(None),
            (None, Self::Name(name)) => Ok(Some(name.clone())),
            (None, Self::Tag(tag)) => Err(TagAlone(tag.clone())),
            (Some(given), Self::Nothing) => Ok(Some(given.with(None))),
            (Some(given), Self::Name(name)) => Ok(Some(given.with(name.tag.as_deref()))),
            (Some(given), Self::Tag(tag)) => Ok(Some(given.with(Some(tag)))),
        }
    }
}

/// What each image is to be called, each name once; before anything is done. `said`: what tells one from the others, and
/// what the file says that it is called.
pub(super) fn names<'a>(
    file: &Path,
    said: impl Iterator<Item = (&'a str, Vec<Said>)>,
    given: Option<&Given>,
) -> Result<Vec<Vec<Option<Reference>>>, StoreError> {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    let mut all = Vec::new();
    for (image, mut said) in said {
        if said.is_empty() {
            said.push(Said::Nothing);
        }
        let mut names: Vec<Option<Reference>> = Vec::new();
        for one in said {
            let name = one.name(given).map_err(|TagAlone(tag)| StoreError::TagAlone { file: file.into(), tag })?;
            if names.contains(&name) {
                continue;
            }
            let text = name.as_ref().filter(|_| given.is_some()).map(ToString::to_string);
            if let Some(text) = text
                && *taken.entry(text.clone()).or_insert(image) != image
            {
                return Err(StoreError::SameName { file: file.into(), name: text });
            }
            names.push(name);
        }
        all.push(names);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `full`, `tag`: what the annotations say; `given`: what is asked for; each empty for nothing.
    fn check(full: &str, tag: &str, given: &str, expected: &str) {
        let said = [(FULL_NAME, full), (REF_NAME, tag)].map(|(key, text)| (key.to_string(), text.to_string()));
        let given = Some(given).filter(|given| !given.is_empty()).map(|given| given.parse().unwrap());
        let shown = match Said::by(&BTreeMap::from(said)).name(given.as_ref()) {
            Ok(name) => name.map(|name| name.to_string()).unwrap_or_default(),
            Err(TagAlone(tag)) => format!("tag {tag}"),
        };
        assert_eq!(shown, expected, "{full:?} {tag:?} {given:?}");
    }

    #[test]
    fn what_files_say() {
        check("", "", "", "");
        check("docker.io/library/app:v1", "v1", "", "docker.io/library/app:v1");
        check("", "r.example.com/app:v1", "", "r.example.com/app:v1");
        check("", "app:v1", "", "docker.io/library/app:v1");
        check("", "team/app", "", "docker.io/team/app:latest");
        check("", "v1", "", "tag v1");
        check("", "latest", "", "tag latest");
        check("", "Not A/Name", "", "");
    }

    #[test]
    fn what_is_given_counts_for_more() {
        check("", "", "r.example.com/app", "r.example.com/app:latest");
        check("", "", "app:v2", "docker.io/library/app:v2");
        check("", "v1", "r.example.com:5000/app", "r.example.com:5000/app:v1");
        check("", "v1", "r.example.com:5000/app:v2", "r.example.com:5000/app:v2");
        check("docker.io/library/app:v1", "v1", "localhost/mine", "localhost/mine:v1");
        check("docker.io/library/app:v1", "v1", "localhost/mine:v3", "localhost/mine:v3");
    }

    /// `said`: images, each with its names. Expected: the same, or the error.
    fn check_all(said: &[(&str, &[&str])], given: &str, expected: &str) {
        let given = Some(given).filter(|given| !given.is_empty()).map(|given| given.parse().unwrap());
        let parsed = said.iter().map(|(image, names)| {
            let said = names.iter().map(|name| Said::by(&BTreeMap::from([(REF_NAME.to_string(), name.to_string())])));
            (*image, said.collect())
        });
        let shown = match names(Path::new("f"), parsed, given.as_ref()) {
            Ok(all) => {
                let text = |name: &Option<Reference>| name.as_ref().map_or("-".into(), ToString::to_string);
                let of_image = |names: &Vec<_>| names.iter().map(text).collect::<Vec<_>>().join(" ");
                all.iter().map(of_image).collect::<Vec<_>>().join("; ")
            }
            Err(error) => error.to_string().split(':').next().unwrap().to_string(),
        };
        assert_eq!(shown, expected, "{said:?} {given:?}");
    }

    #[test]
    fn images_are_told_apart() {
        let two: [(&str, &[&str]); 2] = [("a", &["r.io/a:v1"]), ("b", &["r.io/b:v1"])];
        check_all(&two, "", "r.io/a:v1; r.io/b:v1");
        check_all(&two, "x", "\"f\" holds several images, and \"docker.io/library/x");
        check_all(&[("a", &["v1"]), ("b", &["v2"])], "r.io/x", "r.io/x:v1; r.io/x:v2");
        check_all(&[("a", &["v1"]), ("b", &["v2"])], "r.io/x:v3", "\"f\" holds several images, and \"r.io/x");
        check_all(&[("a", &["r.io/a:v1", "r.io/b:v1"])], "r.io/x", "r.io/x:v1");
        check_all(&[("a", &[]), ("b", &[])], "", "-; -");
        check_all(
            &[("a", &["r.io/a"]), ("b", &["v2"])],
            "",
            "\"f\" says of an image that its tag is \"v2\", and not what it is called",
        );
    }

    #[test]
    fn what_cannot_be_given() {
        for text in ["", "Not A Name", "r/app:", &format!("app@sha256:{}", "0a".repeat(32))] {
            assert!(text.parse::<Given>().is_err(), "{text}");
        }
    }
}
