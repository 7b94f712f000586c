//! Push notifications.

use std::time::SystemTime;

use chatmail_core::counters::Counter;
use chatmail_core::push::{Notified, notify_recipient};

use crate::config::chatmail_config_t;
use crate::error::chatmail_error_t;
use crate::guard::status;

/// Spools push notifications for a message that was stored for `recipient`: one for each of its
/// device tokens, none if the message is from the recipient itself. The push service picks them up.
///
/// It counts the message and its notifications in MAILBOXES_DIR/.chatmail/counters, where other
/// processes do so, too; it waits for them no longer than 50 ms, and then leaves the message uncounted.
///
/// `from_header` is the value of the From header field as it stands in the message. `*spooled`
/// becomes the number of notifications, often 0. A notification replaces one for the same device that
/// has not been sent yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn chatmail_push_notify(
    config: *const chatmail_config_t,
    recipient: *const u8,
    recipient_len: usize,
    from_header: *const u8,
    from_header_len: usize,
    spooled: *mut usize,
    err: *mut *mut chatmail_error_t,
) -> i32 {
    status(err, || {
        let out = output!(spooled);
        let chatmail_config_t {
            config, counters, ..
        } = shared!(config);
        let recipient = bytes!(recipient, recipient_len);
        let from_header = bytes!(from_header, from_header_len);
        let result = notify_recipient(config, recipient, from_header, SystemTime::now());
        let notified = *result.as_ref().unwrap_or(&Notified::default());
        counters.add_each(&[
            (Counter::Delivery, 1),
            (Counter::PushSpooled, notified.devices as u64),
            (Counter::PushMerged, notified.merged as u64),
        ]);
        out.set(result.map_err(chatmail_error_t::io)?.devices);
        Ok(())
    })
}
