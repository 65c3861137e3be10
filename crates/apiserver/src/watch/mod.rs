//! Watches: streams of changes out of the store's shared log, as lines of JSON or frames of protobuf.
//!
//! A watcher costs a cursor, a timer and its selectors. Those that want plain JSON get the stored bytes, copied once;
//! those that want protobuf the message that is kept with them.

mod frame;
mod line;
mod start;
mod transition;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use backstay_api::Status;
use backstay_store::{Entry, Event, EventKind, Revision, StoreError, Watch};
use bytes::Bytes;
use futures::stream;
use http::Response;
use tokio::time::{Instant, Sleep};

use crate::answer::send;
use crate::call::Call;
use crate::problem;
use crate::registry::list::Selection;
use crate::request::options::ListOptions;
use crate::system::metrics::Running;

use line::Lines;

/// Between bookmarks. Source: `defaultBookmarkFrequency` of the watch cache.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// The last bookmark comes so long before the end. Source: `getDurationBeforeDeadline`.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);
/// A watch that sets no limit lasts so long, and up to twice as long. Source: `--min-request-timeout`.
const LASTS_MIN: Duration = Duration::from_secs(1800);

/// However long a client wants to watch. A year; more could not be added to the time that it is.
const LASTS_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Lines that are ready go out together, until they are so many bytes.
const FRAME_BYTES: usize = 32 << 10;

/// Starts a watch and answers with its stream.
pub async fn response(call: Call, options: ListOptions) -> Result<Response<Body>, Status> {
    let start = start::start(&call, &options).await?;
    let lines = Lines::new(&call)?;
    let content_type = lines.content_type();
    let watcher = Watcher::new(call, &options, lines, start);
    let frames = stream::unfold(watcher, |mut watcher| async move {
        let frame = watcher.next().await?;
        Some((frame, watcher))
    });
    Ok(send::stream(content_type, frames))
}

/// One running watch.
struct Watcher {
    call: Call,
    selection: Selection,
    lines: Lines,
    /// Objects that were there when the watch began, still to be sent.
    initial: VecDeque<Arc<Entry>>,
    /// The revision of the initial objects, if their end is to be marked.
    initial_end: Option<Revision>,
    /// None: the watch could not start and only says why.
    events: Option<Box<dyn Watch>>,
    failure: Option<Status>,
    /// Events up to here are known to the client.
    after: Revision,
    bookmarks: bool,
    end: Instant,
    bookmark_at: Instant,
    timer: Pin<Box<Sleep>>,
    _counted: Running,
}

impl Watcher {
    fn new(call: Call, options: &ListOptions, lines: Lines, start: start::Start) -> Self {
        let lasts = match options.timeout_seconds {
            Some(seconds) if seconds > 0 => Duration::from_secs(seconds).min(LASTS_MAX),
            _ => LASTS_MIN + Duration::from_secs(call.core.entropy.next_u64() % LASTS_MIN.as_secs()),
        };
        let now = Instant::now();
        let end = now + lasts;
        let bookmark_at = next_bookmark(now, end);
        let timer = Box::pin(tokio::time::sleep_until(bookmark_at.min(end)));
        Self {
            selection: Selection::of(&call.served, options),
            lines,
            initial: start.initial.into(),
            initial_end: start.mark_end.then_some(start.revision),
            events: start.events,
            failure: start.failure,
            after: start.revision,
            bookmarks: options.allow_bookmarks,
            end,
            bookmark_at,
            timer,
            _counted: call.core.metrics.watch(),
            call: call.lasting(),
        }
    }

    /// The next bytes for the client; none at the end of the watch. What was committed together is read together: a
    /// frame costs the connection and the client as much as a line.
    async fn next(&mut self) -> Option<Bytes> {
        let mut frame = Vec::new();
        if !self.wait_for_line(&mut frame).await {
            return None;
        }
        while frame.len() < FRAME_BYTES && self.ready_line(&mut frame) {}
        Some(frame.into())
    }

    /// Appends the line of an object or event that is there already, and says whether there was one. What ends the
    /// watch is left to the next call.
    fn ready_line(&mut self, frame: &mut Vec<u8>) -> bool {
        if self.initial_line(frame) {
            return true;
        }
        if self.initial_end.is_some() || self.failure.is_some() {
            return false;
        }
        loop {
            let Some(events) = &mut self.events else { return false };
            match events.try_next() {
                Ok(Some(event)) if self.line(frame, &event) => return true,
                Ok(Some(_)) => {}
                Ok(None) => return false,
                Err(error) => {
                    self.failure = Some(ended(&error));
                    return false;
                }
            }
        }
    }

    /// Waits for the next line and appends it; false at the end of the watch.
    async fn wait_for_line(&mut self, frame: &mut Vec<u8>) -> bool {
        if self.initial_line(frame) {
            return true;
        }
        if let Some(revision) = self.initial_end.take() {
            self.lines.bookmark(frame, &self.call, revision, true);
            return true;
        }
        if let Some(status) = self.failure.take() {
            self.events = None;
            self.lines.failure(frame, &status);
            return true;
        }
        loop {
            let Some(events) = &mut self.events else { return false };
            tokio::select! {
                biased;
                () = &mut self.timer => match self.timer_fired(frame) {
                    true => return true,
                    false if Instant::now() >= self.end => return false,
                    false => {}
                },
                event = events.next() => match event {
                    Ok(event) => if self.line(frame, &event) {
                        return true;
                    },
                    Err(error) => {
                        self.events = None;
                        self.lines.failure(frame, &ended(&error));
                        return true;
                    }
                },
            }
        }
    }

    fn initial_line(&mut self, frame: &mut Vec<u8>) -> bool {
        let Some(entry) = self.initial.pop_front() else { return false };
        self.lines.object(frame, &self.call, EventKind::Added, &entry, entry.revision);
        true
    }

    /// Appends the line of an event, unless this watcher does not see it.
    fn line(&mut self, frame: &mut Vec<u8>, event: &Event) -> bool {
        if event.entry.revision <= self.after {
            return false;
        }
        self.after = event.entry.revision;
        self.renew();
        let Some(seen) = transition::seen(&self.selection, event) else { return false };
        self.lines.event(frame, &self.call, event, seen);
        true
    }

    /// Custom objects are shown under the schema of today, not under that of the day when the watch began. Tables keep
    /// the columns that have been sent.
    fn renew(&mut self) {
        let Call { served, core, .. } = &self.call;
        if served.custom.is_none() || matches!(self.lines, Lines::Table { .. }) {
            return;
        }
        let resource = &served.resource;
        if let Some(today) = core.catalog.find(&resource.group, &resource.version, &resource.plural) {
            self.call.served = today;
        }
    }

    /// Appends a bookmark if one is due, and says whether it was; sets the timer anew.
    fn timer_fired(&mut self, frame: &mut Vec<u8>) -> bool {
        let now = Instant::now();
        if now >= self.end {
            return false;
        }
        self.bookmark_at = next_bookmark(now, self.end);
        self.timer.as_mut().reset(self.bookmark_at.min(self.end));
        if !self.bookmarks {
            return false;
        }
        let progress = self.events.as_ref().map_or(0, |events| events.progress());
        self.lines.bookmark(frame, &self.call, progress.max(self.after), false);
        true
    }
}

/// Every minute, and shortly before the end.
fn next_bookmark(now: Instant, end: Instant) -> Instant {
    match end.checked_sub(BOOKMARK_BEFORE_END) {
        Some(last) if last > now => last.min(now + BOOKMARK_EVERY),
        _ => end,
    }
}

/// Why a running watch ends.
fn ended(error: &StoreError) -> Status {
    match error {
        StoreError::Compacted { asked, oldest } => too_old(*asked, *oldest),
        error => Status::internal(error),
    }
}

fn too_old(asked: Revision, oldest: Revision) -> Status {
    problem::expired(format!("too old resource version: {asked} ({oldest})"))
}
