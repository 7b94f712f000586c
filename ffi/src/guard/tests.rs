use std::ffi::CStr;
use std::ptr::{null, null_mut};

use super::*;
use crate::error::*;

thread_local! {
    static PANIC_NEXT: Cell<bool> = const { Cell::new(false) };
}

/// Stands before every guarded body.
pub(super) fn panic_if_asked() {
    if PANIC_NEXT.take() {
        panic!("alice1234@chat.test wrote: attack at dawn");
    }
}

fn panicking<T>(call: impl FnOnce() -> T) -> T {
    PANIC_NEXT.set(true);
    let result = call();
    assert!(!PANIC_NEXT.take(), "the call ran no guarded body");
    result
}

#[test]
fn a_panic_becomes_an_error_that_names_the_place_and_quotes_nothing() {
    let mut err: *mut chatmail_error_t = null_mut();
    let status = panicking(|| status(&raw mut err, || Ok(())));
    assert_eq!(status, CHATMAIL_ERROR_PANIC);
    // SAFETY: `status` filled `err`; its message lives until it is freed.
    let message = unsafe { CStr::from_ptr(chatmail_error_message(err)) };
    let message = message.to_str().unwrap().to_owned();
    assert!(message.contains("src/guard/tests.rs:"), "{message}");
    assert!(!message.contains("alice"), "{message}");
    // SAFETY: as above.
    unsafe {
        assert_eq!(chatmail_error_status(err), CHATMAIL_ERROR_PANIC);
        chatmail_error_free(err);
    }
    // And the next call works.
    assert_eq!(super::status(null_mut(), || Ok(())), CHATMAIL_OK);
}

#[test]
fn a_panic_in_a_question_gives_the_answer_to_null() {
    assert_eq!(panicking(|| answer(7, || Ok(1))), 7);
    // SAFETY: NULL is an argument that every function takes.
    unsafe {
        assert_eq!(
            panicking(|| chatmail_error_status(null())),
            CHATMAIL_ERROR_ARGUMENT
        );
        assert!(panicking(|| chatmail_error_message(null())).is_null());
        panicking(|| chatmail_error_free(null_mut()));
    }
}

#[cfg(feature = "filter")]
#[test]
fn a_message_in_which_a_panic_happened_says_nothing_more() {
    use crate::message::*;
    let mut message = crate::message::tests::half_a_message();
    let message = &raw mut message;
    // SAFETY: a message of our own and no byte arguments.
    unsafe {
        let panicked = crate::message::tests::step_and_panic(message);
        assert_eq!(panicked, CHATMAIL_ERROR_PANIC);
        let finish = chatmail_message_finish(message, &mut null_mut(), null_mut());
        assert_eq!(finish, CHATMAIL_ERROR_STATE);
    }
}

#[cfg(all(
    feature = "auth",
    feature = "filter",
    feature = "metadata",
    feature = "push"
))]
mod every_function {
    use super::*;
    use std::collections::BTreeSet;

    /// `(name, its status)` of exported functions called with all-NULL arguments while they panic.
    macro_rules! panic_in {
    ($($module:ident::$name:ident($($argument:expr),*);)*) => {
        // SAFETY: NULL and 0 are arguments that every function takes.
        vec![$((stringify!($name), panicking(|| unsafe { crate::$module::$name($($argument),*) }))),*]
    };
}

    #[test]
    fn a_panic_in_any_function_with_a_status_stops_there() {
        let (n, e) = (null::<u8>, null_mut::<*mut chatmail_error_t>);
        let statuses = panic_in! {
            config::chatmail_config_load(n(), 0, null_mut(), e());
            auth::chatmail_auth_new(null(), null_mut(), e());
            auth::chatmail_auth_login(null(), n(), 0, n(), 0, n(), 0, null_mut(), e());
            auth::chatmail_auth_lookup(null(), n(), 0, null_mut(), e());
            users::chatmail_users_new(null(), null_mut(), e());
            users::chatmail_users_next(null_mut(), null_mut(), e());
            users::chatmail_note_login(null(), n(), 0, e());
            mailbox::chatmail_mailbox_trim(null(), n(), 0, n(), 0, null_mut(), null_mut(), e());
            metadata::chatmail_metadata_get(null(), n(), 0, n(), 0, null_mut(), e());
            metadata::chatmail_metadata_changes_new(null_mut(), e());
            metadata::chatmail_metadata_changes_set(null_mut(), n(), 0, n(), 0, e());
            metadata::chatmail_metadata_changes_remove(null_mut(), n(), 0, e());
            metadata::chatmail_metadata_store(null(), n(), 0, null(), null_mut(), e());
            push::chatmail_push_notify(null(), n(), 0, n(), 0, null_mut(), e());
            message::chatmail_message_new_outgoing(null(), n(), 0, n(), 0, null_mut(), e());
            message::chatmail_message_new_incoming(null(), n(), 0, n(), 0, null_mut(), e());
            message::chatmail_message_recipient(null_mut(), n(), 0, e());
            message::chatmail_message_header(null_mut(), n(), 0, n(), 0, e());
            message::chatmail_message_end_of_headers(null_mut(), e());
            message::chatmail_message_body(null_mut(), n(), 0, e());
            message::chatmail_message_write(null_mut(), n(), 0, e());
            message::chatmail_message_finish(null_mut(), null_mut(), e());
        };
        for (name, status) in &statuses {
            assert_eq!(*status, CHATMAIL_ERROR_PANIC, "{name}");
        }

        // The list above is complete: it has every function of the header that takes an `err`.
        let header = include_str!("../../../include/chatmail.h");
        let declared: BTreeSet<&str> = header
            .split(';')
            .filter(|declaration| declaration.contains("chatmail_error_t **err)"))
            .filter_map(|declaration| declaration.rsplit_once("\nint32_t "))
            .filter_map(|(_, rest)| rest.split_once('('))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(declared, statuses.iter().map(|(name, _)| *name).collect());
    }
}
