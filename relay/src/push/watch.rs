//! Tells of new files in the spool as soon as they are renamed into place.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::{FutureExt, StreamExt};
use inotify::{EventMask, EventStream, Inotify, WatchMask};

/// An inotify watch on the spool directory.
pub(super) struct Watch {
    events: EventStream<Box<[u8]>>,
    directory: PathBuf,
}

/// What happened since the last look.
pub(super) enum News {
    /// The file of this name is complete.
    File(OsString),
    /// Too much to tell, or the directory itself went: look for yourself.
    Sweep,
}

impl Watch {
    /// Watches a directory that exists. Fails if the user's inotify instances are used up
    /// (`fs.inotify.max_user_instances`). To be called inside the runtime.
    pub(super) fn new(directory: &Path) -> io::Result<Watch> {
        let events = Inotify::init()?.into_event_stream(vec![0; 4096].into_boxed_slice())?;
        let watch = Watch {
            events,
            directory: directory.to_owned(),
        };
        watch.renew()?;
        Ok(watch)
    }

    /// Watches the directory that is there now, should it have been replaced; else no change.
    pub(super) fn renew(&self) -> io::Result<()> {
        // Writers rename a finished file into place; nothing else makes one complete.
        let mask = WatchMask::MOVED_TO | WatchMask::ONLYDIR;
        self.events.watches().add(&self.directory, mask)?;
        Ok(())
    }

    /// Waits for news. Loses none if it is dropped while waiting.
    pub(super) async fn news(&mut self) -> io::Result<News> {
        loop {
            let Some(event) = self.events.next().await else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let event = event?;
            if event
                .mask
                .intersects(EventMask::Q_OVERFLOW | EventMask::IGNORED)
            {
                return Ok(News::Sweep);
            }
            if let Some(name) = event.name {
                return Ok(News::File(name));
            }
        }
    }
    /// The news that there are already, if any.
    pub(super) fn news_now(&mut self) -> Option<io::Result<News>> {
        self.news().now_or_never()
    }
}
