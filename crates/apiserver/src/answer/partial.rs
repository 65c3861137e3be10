//! `PartialObjectMetadata`: objects of which only the metadata is sent.

use backstay_api::Status;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

const METADATA: &[u8] = b"\"metadata\":";
/// Kind and API version take less.
const PREFIX_MAX: usize = 512;

/// An encoded object of which only the metadata is read, without copying it.
#[derive(Deserialize)]
struct MetadataOnly<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

/// The metadata of an encoded object as an object of its own.
pub fn of_object(version: &str, object: &[u8]) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(object.len() / 2);
    write(&mut out, version, object)?;
    Ok(out.into())
}

/// Appends the metadata of an encoded object as an object of its own.
pub fn write(out: &mut Vec<u8>, version: &str, object: &[u8]) -> Result<(), Status> {
    let metadata = metadata(object).map_err(Status::internal)?;
    let head = format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":"#);
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(metadata.get().as_bytes());
    out.push(b'}');
    Ok(())
}

/// The metadata of an encoded object, as it stands there.
///
/// What this server encoded begins with its metadata, and the rest need not be read; anything else is read as a whole.
pub fn metadata(object: &[u8]) -> serde_json::Result<&RawValue> {
    let place = object.windows(METADATA.len()).take(PREFIX_MAX).position(|window| window == METADATA);
    if let Some(place) = place.filter(|place| !object[1..*place].contains(&b'{')) {
        let rest = &object[place + METADATA.len()..];
        if let Some(metadata) = serde_json::Deserializer::from_slice(rest).into_iter().next() {
            return metadata;
        }
    }
    serde_json::from_slice::<MetadataOnly<'_>>(object).map(|part| part.metadata)
}
