//! Watches: one JSON event per line, for as long as the server sends.

use bytes::BytesMut;
use futures::{Stream, StreamExt};
use serde_json::Value;

use crate::error::{ApiError, Failure, Outcome};
use crate::server::{Call, Server};

/// A running watch.
pub struct Watch {
    chunks: Box<dyn Stream<Item = Outcome<bytes::Bytes>> + Unpin>,
    rest: BytesMut,
}

/// `ADDED`, `MODIFIED`, `DELETED` or `BOOKMARK`, and the object.
#[derive(Debug)]
pub struct Event {
    pub kind: String,
    pub object: Value,
}

impl Watch {
    /// Starts after this resource version.
    pub async fn start(server: &Server, call: Call, resource_version: &str) -> Outcome<Self> {
        let call = call.query("resourceVersion", resource_version).query("watch", "true");
        Ok(Self { chunks: Box::new(server.stream(&call).await?), rest: BytesMut::new() })
    }

    /// The next event; none at the end of the stream.
    ///
    /// # Errors
    /// If the server reports one, such as `Expired`, or the connection breaks.
    pub async fn next(&mut self) -> Outcome<Option<Event>> {
        let Some(line) = self.line().await? else { return Ok(None) };
        let event: Value = serde_json::from_slice(&line)
            .map_err(|error| Failure::plain(format!("couldn't read a watch event: {error}")))?;
        let kind = event.get("type").and_then(Value::as_str).unwrap_or("").to_string();
        let object = event.get("object").cloned().unwrap_or_default();
        if kind == "ERROR" {
            return Err(Failure::Api(Box::new(ApiError::from_status(&object))));
        }
        Ok(Some(Event { kind, object }))
    }

    async fn line(&mut self) -> Outcome<Option<BytesMut>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.rest[searched..].iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.rest.split_to(searched + at + 1)));
            }
            searched = self.rest.len();
            match self.chunks.next().await {
                Some(chunk) => self.rest.extend_from_slice(&chunk?),
                None if self.rest.is_empty() => return Ok(None),
                None => return Ok(Some(self.rest.split())),
            }
        }
    }
}
