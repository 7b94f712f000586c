//! The edge: here a panic stops, and a `Result` becomes a status.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use crate::error::{CHATMAIL_OK, chatmail_error_t};

/// Runs the body of an exported function that returns a status, and fills `err` if it fails.
pub(crate) fn status(
    err: *mut *mut chatmail_error_t,
    body: impl FnOnce() -> Result<(), chatmail_error_t>,
) -> i32 {
    match stop_panics(body) {
        Ok(()) => CHATMAIL_OK,
        Err(error) => {
            let status = error.status();
            set_error!(err, error);
            status
        }
    }
}

/// Runs the body of an exported function that returns its answer; `otherwise` is the answer to a
/// wrong argument.
pub(crate) fn answer<T>(otherwise: T, body: impl FnOnce() -> Result<T, chatmail_error_t>) -> T {
    stop_panics(body).unwrap_or(otherwise)
}

thread_local! {
    /// Whether this thread is inside an exported function.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    /// Where the panic that is being stopped began.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn stop_panics<T>(
    body: impl FnOnce() -> Result<T, chatmail_error_t>,
) -> Result<T, chatmail_error_t> {
    note_places();
    let outer = GUARDED.replace(true);
    // Whatever a panic leaves half done is behind a handle, and the header says that such a handle
    // may only be freed. Those that could still answer wrongly (messages) close themselves.
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        tests::panic_if_asked();
        body()
    }));
    GUARDED.set(outer);
    result.unwrap_or_else(|payload| Err(caught(payload)))
}

/// The error for a panic that was stopped. Cold and not generic: one copy for all functions.
#[cold]
#[inline(never)]
fn caught(payload: Box<dyn Any + Send>) -> chatmail_error_t {
    // Dropping a payload may panic in its turn.
    let dropped = panic::catch_unwind(AssertUnwindSafe(|| drop(payload)));
    mem::forget(dropped);
    // `try_with`: gone if the thread is just ending.
    let place = PLACE.try_with(RefCell::take).ok().flatten();
    let place = place.unwrap_or_else(|| "an unknown place".to_owned());
    chatmail_error_t::panic(format_args!("bug in libchatmail, at {place}"))
}

/// Keeps the place of our own panics for the error object instead of printing them.
///
/// The message of a panic is left out: it may quote the text it stumbled over, and that is
/// somebody's mail. Panics outside of our functions (a host written in Rust) go on to its hook.
fn note_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let other = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                let place = info.location().map(ToString::to_string);
                let _ = PLACE.try_with(|slot| slot.replace(place));
            } else {
                other(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests;
