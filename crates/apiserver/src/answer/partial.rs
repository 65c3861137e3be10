//! `PartialObjectMetadata`: objects of which only the metadata is sent.

use backstay_api::Status;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

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
    let part: MetadataOnly<'_> = serde_json::from_slice(object).map_err(Status::internal)?;
    let head = format!(r#"{{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/{version}","metadata":"#);
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(part.metadata.get().as_bytes());
    out.push(b'}');
    Ok(())
}
